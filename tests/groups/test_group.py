"""Every group obeys every law."""

from fractions import Fraction

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import laws
from isoloss.groups import (
    Affine,
    GeneralLinear,
    Group,
    Orthogonal,
    PositiveScaling,
    Product,
    SignFlip,
    Translation,
)
from laws import algebra_element, condition, point
from registry import GROUPS, every_action, every_group

# torch's own rules for forward differentiation are compiled by the deprecated torch.jit on first use
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")


def sample(group: Group, batch=()):
    return group.sample(batch, dtype=torch.float64)


def is_continuous(group: Group) -> bool:
    factors = group.groups if isinstance(group, Product) else ()
    return all(map(is_continuous, factors)) if factors else group.algebra_shape != (0,)


# ---------------------------------------------------------------- axioms


@every_group
def test_axioms(group):
    g, h, k = (sample(group, (3, 2)) for _ in range(3))
    laws.assert_associative(group, g, h, k)
    laws.assert_has_identity(group, g, (3, 2))
    laws.assert_has_inverse(group, g, (3, 2))
    laws.assert_closed(group, g, h)


@every_group
def test_shapes_are_those_promised(group):
    def shapes(tree, batch):
        return tree_map(lambda leaf: tuple(leaf.shape[len(batch) :]), tree)

    for batch in ((), (3,), (2, 3)):
        assert shapes(sample(group, batch), batch) == group.element_shape
        assert shapes(group.identity(batch), batch) == group.element_shape
    assert shapes(group.basis(), (group.dim,)) == group.algebra_shape


@every_group
def test_groups_are_values(group):
    assert group == eval(repr(group), {cls.__name__: cls for cls in _classes(Group)})
    assert hash(group) == hash(eval(repr(group), {cls.__name__: cls for cls in _classes(Group)}))


def _classes(cls):
    return [cls] + [c for child in cls.__subclasses__() for c in _classes(child)]


# ---------------------------------------------------------------- exponential


@every_group
def test_exponential(group):
    a = algebra_element(group, (4,))
    laws.assert_one_parameter_subgroup(group, a)
    laws.assert_log_inverts_exp(group, a)


@every_group
def test_basis_spans_the_algebra(group):
    logs = group.log(sample(group, (6,))) if is_continuous(group) else algebra_element(group, (6,))
    laws.assert_basis_spans(group, logs)


@every_group
def test_retraction_agrees_with_exp_to_first_order_and_stays_in_the_group(group):
    """Half the length, a quarter of the distance: C h^2 and no C h; 3 leaves room for the next order."""
    a = algebra_element(group, (4,), scale=0.1)
    assert group.contains(group.retract(a))
    distances = []
    for h in (1e-2, 5e-3):
        small = tree_map(lambda x, h=h: h * x, a)
        pairs = zip(tree_leaves(group.retract(small)), tree_leaves(group.exp(small)), strict=True)
        distances.append(max([(r - e).abs().max().item() for r, e in pairs if r.numel()], default=0.0))
    assert distances[0] <= 1e-4 and distances[1] <= distances[0] / 3 + 1e-15


@every_group
def test_projection_is_the_nearest_algebra_element(group):
    """It keeps the algebra, and what it takes away is orthogonal to every basis element."""
    inside = algebra_element(group, (4,))
    laws.assert_near(group, group.project(inside), inside, operations=4)
    array = tree_map(torch.randn_like, inside)
    removed = tree_map(lambda x, y: x - y, array, group.project(array))
    for basis in zip(
        *(leaf.flatten(1).unbind(0) for leaf in tree_leaves(group.basis(dtype=torch.float64))), strict=True
    ):
        inner = sum((r.flatten(1) @ b) for r, b in zip(tree_leaves(removed), basis, strict=True))
        assert inner.abs().max() < 1e-13  # inner products of at most 16 numbers of size 1
    laws.assert_near(group, group.project(group.project(array)), group.project(array), operations=4)


@every_action
def test_an_algebra_element_parts_into_symmetric_and_antisymmetric_matrices(group, charge):
    """<s x, y> = <x, s y> for what `symmetric` keeps; <r x, y> = -<x, r y> for the rest, which translates nothing."""
    a, x, y = algebra_element(group), point(group), point(group)
    kept = group.symmetric(a)
    rest = tree_map(lambda whole, part: whole - part, a, kept)
    origin = tree_map(torch.zeros_like, x)

    def inner(x, y):
        return sum((p * q).sum() for p, q in zip(tree_leaves(x), tree_leaves(y), strict=True))

    def linear(a, x):
        moving, still = group.velocity(a, x, charge), group.velocity(a, origin, charge)
        return tree_map(lambda p, q: p - q, moving, still)

    for part, sign in ((kept, 1), (rest, -1)):
        # sums of at most a hundred products of numbers of size 1
        assert abs(inner(linear(part, x), y) - sign * inner(x, linear(part, y))) < 1e-12
    assert all((leaf == 0).all() for leaf in tree_leaves(group.velocity(rest, origin, charge)))


@every_group
def test_the_dimension_of_the_symmetric_parts_is_their_rank(group):
    parts = tree_leaves(group.symmetric(group.basis(dtype=torch.float64)))
    rows = torch.cat([p.reshape(group.dim, p[0].numel() if group.dim else 0) for p in parts], 1)
    assert group.symmetric_dim == (torch.linalg.matrix_rank(rows) if rows.numel() else 0)


@every_group
def test_the_norm_bounds_the_singular_values_of_a_path(group):
    if isinstance(group, Affine | Translation | Product):
        pytest.skip("the norm of a translation has a unit")
    steps = [algebra_element(group, (3,), scale=0.2) for _ in range(3)]
    length = sum(group.norm(a) for a in steps)
    assert length.shape == (3,)
    g = group.compose(group.exp(steps[0]), group.compose(group.exp(steps[1]), group.exp(steps[2])))
    if not is_continuous(group):
        assert (length == 0).all()
    elif g.dim() == 3 and group.algebra_shape == (group.n, group.n):
        values = torch.linalg.svdvals(g).log().abs().amax(-1)
        assert (values <= length + 1e-12).all() and values.max() >= 0
        assert (group.norm(steps[0]) - torch.linalg.svdvals(steps[0])[..., 0]).abs().max() < 1e-12
    else:
        assert (group.log(g).abs().amax((-1,) if g.dim() == 2 else (-1, -2)) <= length + 1e-12).all()


@every_group
def test_the_steepest_element_attains_the_dual_norm(group):
    """Of norm 1, in the algebra, and no other element of norm 1 has a larger inner product."""
    a = algebra_element(group, (4,))
    s = group.steepest(a)
    laws.assert_near(group, group.project(s), s, operations=32)

    def inner(b):
        pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
        return sum((x * y).flatten(1).sum(1) for x, y in pairs)

    if not is_continuous(group) and not isinstance(group, Product) or group.dim == 0:
        assert all(not leaf.numel() or (leaf == 0).all() for leaf in tree_leaves(s))
        return
    assert (group.norm(s) - 1).abs().max() < 1e-12
    for _ in range(20):
        b = algebra_element(group, (4,))
        if isinstance(group, Product):
            continue  # the factors have norms of their own
        length = group.norm(b).reshape(4, *(1,) * (b.dim() - 1))
        assert (inner(b / length) <= inner(s) + 1e-12).all()
    zero = tree_map(torch.zeros_like, a)
    laws.assert_equal(group.steepest(zero), zero)


@every_group
def test_scale_zero_samples_the_identity(group):
    if is_continuous(group):
        laws.assert_equal(group.sample((2,), scale=0.0), group.identity((2,)))


# ---------------------------------------------------------------- action


@every_action
def test_action(group, charge):
    g, h = sample(group, (2,)), sample(group, (2,))
    x = point(group, (2,), (3, 4))
    laws.assert_identity_acts_trivially(group, x, charge, (2,))
    laws.assert_compatible(group, g, h, x, charge)


@every_action
def test_velocity(group, charge):
    laws.assert_velocity_is_derivative(group, algebra_element(group, (2,)), point(group, (2,), (3,)), charge)


@every_action
def test_gradients_move_by_the_dual(group, charge):
    g, (x, x2, y) = sample(group, (2,)), (point(group, (2,), (3,)) for _ in range(3))
    laws.assert_dual_pairs(group, g, x, x2, y, charge)


@every_action
def test_dual_of_a_linear_action_is_the_opposite_charge(group, charge):
    if any(isinstance(part, Translation | Affine) for part in _parts(group)):
        return
    g, y = sample(group), point(group, (), (3,))
    laws.assert_equal(group.dual(g, y, charge), group.act(g, y, -charge))


def _parts(group):
    return [p for factor in group.groups for p in _parts(factor)] if isinstance(group, Product) else [group]


@every_action
def test_dual_moves_a_gradient(group, charge):
    """The gradient of L(g^-1 x) at g x, by autograd, is the dual of the gradient of L at x."""
    g, x = sample(group), point(group)
    y = point(group)

    def loss(x):
        return sum((a * b).sum() for a, b in zip(tree_leaves(y), tree_leaves(x), strict=True))

    def moved_loss(*leaves):
        spec = torch.utils._pytree.tree_structure(x)
        back = group.act(group.inverse(g), torch.utils._pytree.tree_unflatten(leaves, spec), charge)
        return loss(back)

    there = [t.requires_grad_() for t in tree_leaves(group.act(g, x, charge))]
    gradient = torch.autograd.grad(moved_loss(*there), there)
    cond = condition(group, g) ** max(1.0, abs(float(charge)))
    laws.assert_near(group, list(gradient), tree_leaves(group.dual(g, y, charge)), operations=4, cond=cond)


# ---------------------------------------------------------------- batches and transforms


@every_action
def test_batch_is_a_loop(group, charge):
    g, h, a, x = (
        sample(group, (3,)),
        sample(group, (3,)),
        algebra_element(group, (3,)),
        point(group, (3,), (2,)),
    )
    cond = (condition(group, g) * condition(group, h)) ** max(1.0, abs(float(charge)))
    functions = {
        "act": (lambda g, x: group.act(g, x, charge), (g, x)),
        "velocity": (lambda a, x: group.velocity(a, x, charge), (a, x)),
        "dual": (lambda g, x: group.dual(g, x, charge), (g, x)),
        "compose": (group.compose, (g, h)),
        "inverse": (group.inverse, (g,)),
        "exp": (group.exp, (a,)),
    }
    for f, arguments in functions.values():
        laws.assert_batch_is_loop(f, group, *arguments, operations=16, cond=cond)
        laws.assert_vmaps(f, group, *arguments, operations=16, cond=cond)


@every_group
def test_log_of_a_batch_is_a_loop(group):
    g = sample(group, (3,)) if is_continuous(group) else group.identity((3,), dtype=torch.float64)
    laws.assert_batch_is_loop(group.log, group, g)


@every_group
def test_one_element_acts_on_all_of_rest(group):
    g, x = sample(group), point(group, (), (2, 3))
    laws.assert_near(
        group,
        tree_map(lambda t: t[1, 2], group.act(g, x)),
        group.act(g, tree_map(lambda t: t[1, 2], x)),
        operations=2,
        cond=condition(group, g),
    )


@every_group
def test_batch_dimensions_broadcast(group):
    g, x = sample(group, (3, 1)), point(group, (1, 2))
    wide = tree_map(lambda t: t.expand(3, 2, *t.shape[2:]), (g, x))
    laws.assert_near(group, group.act(g, x), group.act(*wide), operations=2, cond=condition(group, g))


@every_group
def test_empty_batches_pass(group):
    g, x = sample(group, (0,)), point(group, (0,), (2,))
    laws.assert_equal(group.act(g, x), x)
    assert group.contains(group.compose(g, group.inverse(g)))
    assert all(leaf.shape[0] == 0 for leaf in tree_leaves(group.log(g)))


@every_action
def test_action_is_differentiable_in_element_and_point(group, charge):
    if isinstance(group, Product) or not is_continuous(group):
        return
    g, x = sample(group, (2,)).requires_grad_(), point(group, (2,), (2,)).requires_grad_()
    act = lambda g, x: group.act(g, x, charge)  # noqa: E731
    assert torch.autograd.gradcheck(act, (g, x), check_forward_ad=True)


@every_group
def test_the_action_compiles_into_one_graph(group):
    """The tracer alone (backend "eager") refuses what depends on values."""
    g, x = sample(group, (2,)), point(group, (2,), (3,))
    torch.compiler.reset()
    compiled = torch.compile(lambda g, x: group.act(group.inverse(g), x, -1), backend="eager", fullgraph=True)
    laws.assert_equal(compiled(g, x), group.act(group.inverse(g), x, -1))


@every_group
def test_results_are_new_tensors(group):
    """Writing into a result leaves the arguments as they are."""
    g, x = sample(group), point(group)
    e = group.identity(dtype=torch.float64)
    results = [group.act(e, x), group.dual(e, x), group.inverse(g), group.compose(e, g), group.compose(g, e)]
    if is_continuous(group):
        a = algebra_element(group)
        results += [group.exp(a), group.log(g)]
    inputs = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((g, x, e))}
    assert not any(r.untyped_storage().data_ptr() in inputs for r in tree_leaves(results))


# ---------------------------------------------------------------- dtypes and randomness


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@every_action
def test_narrow_dtypes_round_but_agree(group, charge, dtype):
    g, x = group.sample((2,), dtype=dtype), point(group, (2,), (3,), dtype)
    moved = group.act(g, x, charge)
    assert all(leaf.dtype == dtype for leaf in tree_leaves(moved))
    wide = tree_map(lambda t: t.double() if t.is_floating_point() else t, (g, x))
    power = max(1.0, abs(float(charge)))
    cond = condition(group, g) ** power
    laws.assert_near(group, moved, group.act(*wide, charge), operations=2 * power, cond=cond, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@every_group
def test_samples_are_elements_in_every_dtype(group, dtype):
    g = group.sample((4,), dtype=dtype)
    assert group.contains(g)
    assert group.contains(group.identity(dtype=dtype))
    assert group.contains(group.compose(g, group.inverse(g)))
    assert all(leaf.dtype in (dtype, torch.int64) for leaf in tree_leaves(g))


@every_group
def test_an_element_wider_than_the_point_keeps_the_dtype_of_the_point(group):
    g, x = sample(group), point(group, (), (2,), torch.bfloat16)
    assert all(leaf.dtype == torch.bfloat16 for leaf in tree_leaves(group.act(g, x)))


@every_group
def test_draws_are_reproducible(group):
    laws.assert_reproducible(group)


@every_group
def test_default_dtype_is_respected(group):
    torch.set_default_dtype(torch.float64)
    try:
        drawn = [group.sample(), group.identity(), group.basis()]
    finally:
        torch.set_default_dtype(torch.float32)
    assert {leaf.dtype for leaf in tree_leaves(drawn)} <= {torch.float64, torch.int64}


def test_scale_is_the_standard_deviation_of_the_algebra():
    """Of 40,000 draws a standard deviation has a relative error of 1 / sqrt(80,000); five of those may pass."""
    draws = PositiveScaling(4).sample((10_000,), scale=0.3, dtype=torch.float64).log()
    assert abs(draws.std() / 0.3 - 1) < 5 / 80_000**0.5


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", None, True])
def test_size_must_be_a_positive_integer(n):
    with pytest.raises(
        ValueError, match=r"GeneralLinear: n must be a positive integer; got .* Pass the size"
    ):
        GeneralLinear(n)


@pytest.mark.parametrize("scale", [-0.5, float("nan"), float("inf"), "a", None, True])
@pytest.mark.parametrize("group", [PositiveScaling(3), Orthogonal(3), Translation(3) * SignFlip(3)], ids=repr)
def test_scale_must_be_a_size(group, scale):
    rule = "sample: scale must be a finite number that is not negative; got .*; it is the standard deviation"
    with pytest.raises(ValueError, match=rule):
        group.sample(scale=scale)


@pytest.mark.parametrize(
    ("g", "x"),
    [
        ((5,), (4,)),  # another axis
        ((4,), (5,)),  # another element
        ((2, 5), (5,)),  # fewer dimensions than the batch
        ((2, 5), (3, 5)),  # another batch
        ((), (5,)),  # no element at all
    ],
)
def test_shapes_must_fit(g, x):
    group = PositiveScaling(5)
    rule = r"shapes must be \(\*batch, 5\) and \(\*batch, \*rest, 5\); got .* Move the axis last"
    with pytest.raises(ValueError, match=r"R\+\^5.act: " + rule):
        group.act(torch.ones(g), torch.ones(x))
    with pytest.raises(ValueError, match=r"R\+\^5.velocity: " + rule):
        group.velocity(torch.ones(g), torch.ones(x))


@pytest.mark.parametrize("name", ["GL(4)", "O(5)", "Aff(3)", "C*^3"])
@pytest.mark.parametrize("charge", [0, 2, Fraction(1, 2)])
def test_matrix_groups_have_two_charges(name, charge):
    group = GROUPS[name]
    with pytest.raises(
        ValueError, match=r"charge must be 1 or -1; got .* Act with compose\(g, g\) for a square"
    ):
        group.act(group.sample(), point(group, dtype=torch.float32), charge)
    with pytest.raises(ValueError, match="charge must be 1 or -1"):
        group.velocity(torch.zeros(group.algebra_shape), point(group, dtype=torch.float32), charge)


@every_group
def test_log_of_a_non_element_says_so(group):
    broken = tree_map(lambda t: t * 0 - 7 if t.dtype == torch.int64 else t * float("nan"), sample(group))
    assert not group.contains(broken)
    with pytest.raises(
        ValueError, match=r"log: g must be an element of the group; got .* Ask .*contains\(g\)"
    ):
        group.log(broken)
