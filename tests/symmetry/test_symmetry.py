"""The laws of a symmetry: it acts, its generator is the derivative, and gradients follow it."""

from math import prod

import pytest
import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal, Permutation, PositiveScaling, SignFlip
from isoloss.symmetry import Symmetry
from laws import condition
from symmetry.hand_made import CASES, Case, hidden, two_layers


def cases(names):
    return pytest.mark.parametrize("build", [pytest.param(CASES[n], id=n) for n in names])


with torch.random.fork_rng(devices=[]):
    KINDS = {name: build().symmetry for name, build in CASES.items()}
every_case = cases(CASES)
batched = cases(n for n, s in KINDS.items() if s.batch)
continuous = cases(n for n, s in KINDS.items() if s.dim)
discrete = cases(n for n, s in KINDS.items() if not s.dim)
linear = cases(n for n, s in KINDS.items() if s.linear)
nonlinear = cases(n for n, s in KINDS.items() if not s.linear)
elementwise = cases(
    n for n, s in KINDS.items() if isinstance(s.group, PositiveScaling | SignFlip | Permutation)
)
mixing = cases(
    n for n, s in KINDS.items() if not isinstance(s.group, PositiveScaling | SignFlip | Permutation)
)
several = cases(n for n, s in KINDS.items() if len(s.slots) > 1)
# What `find` promises of a symmetry: outputs change by at most this, relative to the largest.
PROMISE = 1e-10


def element(symmetry: Symmetry, seed: int = 0) -> Tensor:
    """A random element that is not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(50):
        g = symmetry.sample(0.5, generator, dtype=torch.float64)
        if not torch.equal(g, symmetry.identity(dtype=g.dtype)):
            return g
    raise AssertionError("no element but the identity was drawn")


def algebra(symmetry: Symmetry, seed: int = 0) -> Tensor:
    """A random algebra element, a combination of the basis for each index of the batch."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*symmetry.batch, symmetry.group.dim)
    coefficients = 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.tensordot(coefficients, symmetry.group.basis(dtype=torch.float64), 1)


def margin(c: Case, *elements: Tensor) -> float:
    """C * eps * cond: how far rounding may carry two ways of computing the same move apart.

    Each slot multiplies rows of at most n entries (n ** 1.5 * eps, see `laws`), a few times; a charge is an exponent
    and raises condition numbers to its power; a frame adds the condition of its diagonal, twice.
    """
    symmetry, n = c.symmetry, c.symmetry.group.n
    power = max(1.0, *(abs(float(getattr(s, "charge", 1))) for s in symmetry.slots))
    cond = prod(condition(symmetry.group, g) ** power for g in elements)
    for name in symmetry.reads:
        diagonal = c.tensors[name].abs()
        cond *= float(diagonal.max() / diagonal.min()) ** 2
    operations = 4 * (1 + len(elements)) * len(symmetry.slots)
    return operations * n**1.5 * torch.finfo(torch.float64).eps * cond


def assert_near(c: Case, actual, expected, *elements: Tensor) -> None:
    assert actual.keys() == expected.keys()
    for name, e in expected.items():
        size = max(1.0, e.abs().max().item())
        assert_close(
            actual[name], e, rtol=0, atol=size * margin(c, *elements), msg=lambda m, n=name: f"{n}: {m}"
        )


def relative_change(before: Tensor, after: Tensor) -> float:
    return ((before - after).abs().max() / before.abs().max()).item()


# ---------------------------------------------------------------- the action


@every_case
def test_the_function_stays_and_the_weights_move(build):
    c = build()
    moved = c.symmetry.act(element(c.symmetry), c.tensors)
    assert relative_change(c.network(c.tensors), c.network(c.tensors | moved)) <= PROMISE
    assert moved.keys() == set(c.symmetry.parameters)
    assert all(not torch.equal(moved[n], c.tensors[n]) for n in moved)


@several
def test_every_slot_is_needed(build):
    """Left behind, any slot breaks the function."""
    c = build()
    g, slots = element(c.symmetry), c.symmetry.slots
    for i in range(len(slots)):
        rest = Symmetry(c.symmetry.group, slots[:i] + slots[i + 1 :], c.symmetry.batch)
        moved = c.tensors | rest.act(g, c.tensors)
        assert relative_change(c.network(c.tensors), c.network(moved)) > 1e-3


@every_case
def test_act_is_compatible(build):
    """(g h) w == g (h w)"""
    c = build()
    g, h = element(c.symmetry, 1), element(c.symmetry, 2)
    first = c.tensors | c.symmetry.act(h, c.tensors)
    in_turn = c.symmetry.act(g, first)
    together = c.symmetry.act(c.symmetry.group.compose(g, h), c.tensors)
    assert_near(c, together, in_turn, g, h)


@every_case
def test_inverse_undoes(build):
    c = build()
    g = element(c.symmetry)
    moved = c.tensors | c.symmetry.act(g, c.tensors)
    back = c.symmetry.act(c.symmetry.group.inverse(g), moved)
    assert_near(c, back, {n: c.tensors[n] for n in back}, g, g)


@every_case
def test_identity_moves_nothing(build):
    """Bit for bit, except where a frame divides by what it multiplied with."""
    c = build()
    moved = c.symmetry.act(c.symmetry.identity(dtype=torch.float64), c.tensors)
    framed = any(getattr(s, "frames", ()) for s in c.symmetry.slots)
    for name, value in moved.items():
        assert_close(value, c.tensors[name], rtol=4 * torch.finfo(torch.float64).eps if framed else 0, atol=0)


@every_case
def test_act_leaves_what_it_is_given(build):
    c = build()
    before = {n: t.clone() for n, t in c.tensors.items()}
    g = element(c.symmetry)
    kept = g.clone()
    moved = c.symmetry.act(g, c.tensors)
    for name, value in moved.items():
        value.zero_()  # new memory, not a view of the old
        assert torch.equal(c.tensors[name], before[name])
    assert torch.equal(g, kept)


@every_case
@pytest.mark.parametrize("piece", [1, 5, 1 << 18])
def test_in_place_is_the_same_move(build, piece, monkeypatch):
    """Whatever the size of the pieces; and what is only read stays."""
    monkeypatch.setattr("isoloss.symmetry._slot.PIECE", piece)
    c = build()
    g = element(c.symmetry)
    expected = {n: t.clone() for n, t in (c.tensors | c.symmetry.act(g, c.tensors)).items()}
    c.symmetry.act_(g, c.tensors)
    assert_near(c, c.tensors, expected, g)
    for name in c.tensors.keys() - set(c.symmetry.parameters):
        assert torch.equal(c.tensors[name], expected[name])


@every_case
def test_layout_does_not_matter(build):
    """Transposed storage, and a slice of a larger tensor, move like contiguous tensors."""
    c = build()
    g = element(c.symmetry)
    expected = c.symmetry.act(g, c.tensors)
    transposed = {n: t.mT.contiguous().mT if t.ndim > 1 else t for n, t in c.tensors.items()}
    sliced = {n: torch.stack([t, t], -1)[..., 1] for n, t in c.tensors.items()}
    for other in (transposed, sliced):
        moved = c.symmetry.act(g, other)
        assert_near(c, moved, expected, g)
        assert all(torch.equal(other[n], c.tensors[n]) for n in other)


@batched
def test_batch_is_one_element_per_index(build):
    """Elements that are trivial but for one index of the batch, one by one, are the whole."""
    c = build()
    g = element(c.symmetry)
    together = c.symmetry.act(g, c.tensors)
    in_turn = dict(c.tensors)
    for index in range(c.symmetry.batch[0]):
        one = c.symmetry.identity(dtype=torch.float64)
        one[index] = g[index]
        in_turn |= c.symmetry.act(one, in_turn)
        assert relative_change(c.network(c.tensors), c.network(in_turn)) <= PROMISE
    assert_near(c, {n: in_turn[n] for n in together}, together, g)


# ---------------------------------------------------------------- the generator


@continuous
def test_generator_is_derivative_of_act(build):
    """d/dt exp(t a) w at t = 0, by forward differentiation"""
    c = build()
    a = algebra(c.symmetry)
    zero = torch.zeros((), dtype=torch.float64)
    _, velocity = jvp(
        lambda t: c.symmetry.act(c.symmetry.group.exp(t * a), c.tensors), (zero,), (torch.ones_like(zero),)
    )
    found = c.symmetry.generator(a, c.tensors)
    assert_near(c, found, velocity)
    assert all(v.abs().max() > 0 for v in found.values())


@continuous
def test_moment_is_the_adjoint_of_the_generator(build):
    """<moment(y), a> == <y, generator(a)> for every a, and it lies in the algebra."""
    c = build()
    y = {n: torch.randn_like(c.tensors[n]) for n in c.symmetry.parameters}
    moment, a = c.symmetry.moment(y, c.tensors), algebra(c.symmetry)
    slope = sum((y[n] * v).sum() for n, v in c.symmetry.generator(a, c.tensors).items())
    size = sum((y[n] * v).abs().sum() for n, v in c.symmetry.generator(a, c.tensors).items())
    # Sums in another order: C eps of what is summed, C the 64 terms that an entry has at most.
    assert_close((moment * a).sum(), slope, rtol=0.0, atol=64 * torch.finfo(torch.float64).eps * size.item())
    assert_close(c.symmetry.group.project(moment), moment, rtol=1e-14, atol=1e-14)
    assert moment.abs().max() > 0


@continuous
def test_the_moment_of_the_loss_is_zero(build):
    """What is constant on orbits has no slope along them (negative control of the law above)."""
    c = build()
    leaves = {n: t.clone().requires_grad_() for n, t in c.tensors.items()}
    value = c.network(leaves).sin().sum()
    names = [n for n in leaves if n in c.symmetry.parameters]
    found = torch.autograd.grad(value, [leaves[n] for n in names], allow_unused=True)
    y = {n: g for n, g in zip(names, found, strict=True) if g is not None}
    sizes = [c.symmetry.moment({n: g}, c.tensors).abs().max() for n, g in y.items()]
    sizes += [g.abs().max() for g in y.values()]  # a bias that shifts alone has no part that others cancel
    assert c.symmetry.moment(y, c.tensors).abs().max() <= 1e-12 * max(sizes)


def test_absent_gradients_have_no_part_in_the_moment():
    tensors = two_layers()
    symmetry = hidden(tensors, PositiveScaling(5))
    y = {"w1": torch.randn_like(tensors["w1"])}
    assert_close(symmetry.moment(y, tensors), (y["w1"] * tensors["w1"]).sum(1))
    assert symmetry.moment({}, tensors).abs().max() == 0


@continuous
def test_act_backpropagates_to_the_element(build):
    """<y, act(exp(t a))> has the derivative <y, generator(a)> at t = 0, by reverse differentiation."""
    c = build()
    a = algebra(c.symmetry)
    y = {n: torch.randn_like(c.tensors[n]) for n in c.symmetry.parameters}
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    moved = c.symmetry.act(c.symmetry.group.exp(t * a), c.tensors)
    (found,) = torch.autograd.grad(sum((y[n] * moved[n]).sum() for n in y), t)
    velocity = c.symmetry.generator(a, c.tensors)
    size = sum((y[n] * velocity[n]).abs().sum().item() for n in y)
    expected = sum((y[n] * velocity[n]).sum() for n in y)
    assert_close(found, expected, rtol=0, atol=size * margin(c))


@discrete
def test_discrete_groups_have_no_velocity(build):
    c = build()
    found = c.symmetry.generator(algebra(c.symmetry), c.tensors)
    assert found.keys() == set(c.symmetry.parameters)
    assert not any(v.any() for v in found.values())


@continuous
def test_generator_is_annihilated_by_the_jacobian(build):
    """Along a generator the outputs do not change to first order."""
    c = build()
    tangent = c.symmetry.generator(algebra(c.symmetry), c.tensors)
    known = {n: c.tensors[n] for n in tangent}
    _, change = jvp(lambda t: c.network(c.tensors | t), (known,), (tangent,))
    outputs = c.network(c.tensors)
    assert change.abs().max() <= PROMISE * outputs.abs().max()


@continuous
def test_dim_counts_independent_generators(build):
    """The generators of a basis are independent at a generic point: dim is not an overcount."""
    c = build()
    basis = c.symmetry.group.basis(dtype=torch.float64)
    rows = []
    for index in range(prod(c.symmetry.batch)):
        for b in basis:
            a = torch.zeros(prod(c.symmetry.batch), *c.symmetry.group.algebra_shape, dtype=torch.float64)
            a[index] = b
            a = a.reshape(*c.symmetry.batch, *c.symmetry.group.algebra_shape)
            rows.append(torch.cat([v.flatten() for v in c.symmetry.generator(a, c.tensors).values()]))
    assert torch.linalg.matrix_rank(torch.stack(rows)) == c.symmetry.dim == len(rows)


# ---------------------------------------------------------------- gradients


def gradients(c: Case, tensors: dict[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Gradients of a loss of the network: quadratic in the outputs, so that it has no symmetry of its own."""
    leaves = {n: t.detach().clone().requires_grad_() for n, t in tensors.items()}
    outputs = c.network(leaves)
    loss = (weights * outputs + outputs**2).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), found, strict=True)
    }


@every_case
def test_transport_is_the_gradient_at_the_moved_point(build):
    """By backpropagation there, for everything that moves and everything that the action reads."""
    c = build()
    g, weights = element(c.symmetry), torch.randn_like(c.network(c.tensors))
    here = gradients(c, c.tensors, weights)
    there = gradients(c, c.tensors | c.symmetry.act(g, c.tensors), weights)
    found = here | c.symmetry.transport(g, here, c.tensors)
    size = max(v.abs().max() for v in there.values())
    for name, expected in there.items():
        assert_close(
            found[name], expected, rtol=0, atol=PROMISE * size.item(), msg=lambda m, n=name: f"{n}: {m}"
        )


@every_case
def test_transport_pulls_any_covector_back(build):
    """J^T transport(y) == y with J the Jacobian of the action, whether or not y is a gradient of the network."""
    c = build()
    g = element(c.symmetry)
    names = [*c.symmetry.parameters, *c.symmetry.reads]
    y = {n: torch.randn_like(c.tensors[n]) for n in names}
    moved = y | c.symmetry.transport(g, y, c.tensors)
    leaves = {n: c.tensors[n].clone().requires_grad_() for n in names}
    image = leaves | c.symmetry.act(g, leaves)
    back = torch.autograd.grad([image[n] for n in names], list(leaves.values()), [moved[n] for n in names])
    assert_near(c, dict(zip(names, back, strict=True)), y, g, g)


@linear
def test_transport_needs_no_tensors_where_the_action_is_linear(build):
    """It moves any covectors, wherever they are."""
    c = build()
    g, y = element(c.symmetry), {n: torch.randn_like(t) for n, t in c.tensors.items()}
    found = c.symmetry.transport(g, y, {n: torch.randn_like(t) for n, t in c.tensors.items()})
    assert_near(c, c.symmetry.transport(g, y), found, g)


@nonlinear
def test_transport_asks_for_tensors_where_the_action_is_not_linear(build):
    c = build()
    with pytest.raises(ValueError, match="not linear; got no tensors; pass the parameters before the move"):
        c.symmetry.transport(element(c.symmetry), c.tensors)


@every_case
def test_absent_gradients_stay_absent(build):
    """Frozen parameters have none; the others are moved as if theirs were zero."""
    c = build()
    g, weights = element(c.symmetry), torch.randn_like(c.network(c.tensors))
    here = gradients(c, c.tensors, weights)
    for absent in c.symmetry.parameters:
        some = {n: t for n, t in here.items() if n != absent}
        found = c.symmetry.transport(g, some, c.tensors)
        assert absent not in found
        zeros = c.symmetry.transport(g, {**some, absent: torch.zeros_like(here[absent])}, c.tensors)
        assert_near(c, found, {n: zeros[n] for n in found}, g)
    assert c.symmetry.transport(g, {}, c.tensors) == {}


@elementwise
def test_second_moments_are_those_of_the_moved_gradients(build):
    """The average of squares of transported gradients, by the definition."""
    c = build()
    g = element(c.symmetry)
    samples = [{n: torch.randn_like(t) for n, t in c.tensors.items()} for _ in range(3)]
    moved = [s | c.symmetry.transport(g, s) for s in samples]
    found = c.symmetry.transport_second(g, average_of_squares(samples))
    expected = average_of_squares(moved)
    assert_near(c, found, {n: expected[n] for n in found}, g, g)
    assert found.keys() == set(c.symmetry.parameters)


def average_of_squares(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {n: torch.stack([s[n] ** 2 for s in samples]).mean(0) for n in samples[0]}


@mixing
def test_second_moments_that_mix_are_refused(build):
    c = build()
    with pytest.raises(ValueError, match="second moments follow scalings, signs and permutations only; got"):
        c.symmetry.transport_second(element(c.symmetry), {n: t**2 for n, t in c.tensors.items()})


# ---------------------------------------------------------------- exact cases: nothing rounds


def integers(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape).double()


def powers_of_two(n: int) -> Tensor:
    return 2.0 ** torch.randint(-3, 4, (n,)).double()


@pytest.mark.parametrize(
    ("group", "element", "outgoing", "activation"),
    [
        pytest.param(PositiveScaling(6), lambda: powers_of_two(6), -1, torch.relu, id="scaling"),
        pytest.param(PositiveScaling(6), lambda: powers_of_two(6), -3, lambda z: z.relu() ** 3, id="cubed"),
        pytest.param(
            SignFlip(6), lambda: SignFlip(6).sample(dtype=torch.float64), 1, lambda z: z**3, id="sign"
        ),
        pytest.param(
            Permutation(6), lambda: torch.randperm(6), 1, lambda z: z.relu() + z**2, id="permutation"
        ),
        pytest.param(
            GeneralLinear(6),
            lambda: torch.diag(powers_of_two(6))[torch.randperm(6)],
            -1,
            lambda z: z,
            id="linear",
        ),
        pytest.param(
            Orthogonal(6), lambda: torch.eye(6).double()[torch.randperm(6)], 1, lambda z: z, id="orthogonal"
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_integer_networks_are_exactly_unchanged(group, element, outgoing, activation, dtype):
    """Integers and powers of two do not round, so equality is exact."""
    shapes = {"w1": (6, 3), "b1": (6,), "w2": (4, 6), "b2": (4,)}
    t = {n: integers(*s).to(dtype) for n, s in shapes.items()}
    inputs = integers(5, 3).to(dtype)
    g = element()
    moved = t | hidden(t, group, outgoing).act(g, t)
    network = lambda t: activation(inputs @ t["w1"].T + t["b1"]) @ t["w2"].T + t["b2"]  # noqa: E731
    assert_close(network(moved), network(t), rtol=0, atol=0)
    assert not torch.equal(moved["w1"], t["w1"])


def test_translations_of_integers_are_exact():
    t = {"b1": integers(5), "b2": integers(4), "w2": integers(4, 5)}
    c = CASES["translation_through_a_weight"]()
    moved = t | c.symmetry.act(integers(5), t)
    z = integers(7, 5)
    network = lambda t: (z + t["b1"]) @ t["w2"].T + t["b2"]  # noqa: E731
    assert_close(network(moved), network(t), rtol=0, atol=0)


def test_permutations_commute_with_everything_elementwise():
    """Outputs of any network of one hidden layer are the same sums in another order."""
    c = CASES["permutation"]()
    g = element(c.symmetry)
    moved = c.symmetry.act(g, c.tensors)
    for name, dim in (("w1", 0), ("b1", 0), ("w2", 1)):
        assert torch.equal(moved[name], c.tensors[name].index_select(dim, g))


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_case
def test_tensors_keep_their_dtype(build, dtype):
    """A float64 element moves low-precision tensors to within the rounding of their own dtype."""
    c = build()
    g = element(c.symmetry)
    low = {n: t.to(dtype) for n, t in c.tensors.items()}
    exact = c.symmetry.act(g, {n: t.double() for n, t in low.items()})
    moved = c.symmetry.act(g, low)
    ratio = torch.finfo(dtype).eps / torch.finfo(torch.float64).eps
    for name, e in exact.items():
        assert moved[name].dtype == dtype
        size = max(1.0, e.abs().max().item())
        assert_close(moved[name].double(), e, rtol=0, atol=size * ratio * margin(c, g))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_element_is_not_rounded_to_the_dtype_of_the_tensors(dtype):
    """s * w is rounded once: as if computed in float64 and cast."""
    t = {n: v.to(dtype) for n, v in two_layers().items()}
    symmetry = hidden(t, PositiveScaling(5))
    g = symmetry.sample(dtype=torch.float64)
    moved = symmetry.act(g, t)
    assert torch.equal(moved["w1"], (g[:, None] * t["w1"].double()).to(dtype))
    assert torch.equal(moved["w2"], (t["w2"].double() / g).to(dtype))


# ---------------------------------------------------------------- what a symmetry says of itself


def test_names_and_dimensions():
    c = CASES["linear_values_interleaved"]()
    s = c.symmetry
    assert (s.name, s.dim, s.parameters, s.reads) == ("GL(2)^3", 12, ("qkv", "bias", "out"), ())
    assert s.identity().shape == (3, 2, 2)
    assert s.sample(generator=torch.Generator().manual_seed(0)).shape == (3, 2, 2)
    read = CASES["rotation_through_a_norm_weight"]().symmetry
    assert (read.parameters, read.reads, read.linear) == (("w1", "w2"), ("norm",), False)
    assert repr(Symmetry(Permutation(4), s.slots, (), "permutation")) == (
        "Symmetry(S_4, permutation, on qkv, bias, out)"
    )


def test_sample_is_reproducible_and_leaves_the_global_generator_alone():
    symmetry = CASES["linear"]().symmetry
    state = torch.get_rng_state()
    draw = [symmetry.sample(0.5, torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_scale_is_the_size_of_the_step():
    symmetry = CASES["scaling"]().symmetry
    small = symmetry.sample(1e-3, torch.Generator().manual_seed(0)).log().abs().max()
    large = symmetry.sample(1.0, torch.Generator().manual_seed(0)).log().abs().max()
    assert_close(large / small, torch.tensor(1e3), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batched", ["both", "element", "tensors"])
@pytest.mark.parametrize("differentiated", [True, False])
def test_many_at_once_are_each_alone(name, batched, differentiated):
    """Under vmap either may be batched; what is not is not written to."""
    case = CASES[name]()
    symmetry, given = case.symmetry, {n: t.clone() for n, t in case.tensors.items()}
    options = {} if isinstance(symmetry.group, Permutation) else {"dtype": torch.float64}
    elements = torch.stack([symmetry.sample(**options) for _ in range(2)])
    tensors = {n: torch.stack([t, t + 0.1]) for n, t in case.tensors.items()}
    g = elements[0] if batched == "tensors" else elements
    w = case.tensors if batched == "element" else tensors
    dims = (None if batched == "tensors" else 0, None if batched == "element" else 0)
    with torch.set_grad_enabled(differentiated):
        together = vmap(symmetry.act, in_dims=dims)(g, w)
    for i in range(2):
        one = case.tensors if batched == "element" else {n: t[i] for n, t in tensors.items()}
        alone = symmetry.act(elements[0 if batched == "tensors" else i], one)
        # The same operations in a batch: they may be summed in another order.
        assert_close({n: t[i] for n, t in together.items()}, alone, rtol=1e-12, atol=1e-12)
    assert_close(case.tensors, given, rtol=0, atol=0)


def test_batches_in_any_memory_layout():
    """Views by strides need the batch in front; blocks are read without."""
    case = CASES["linear_queries_and_keys"]()
    g = case.symmetry.sample(dtype=torch.float64)
    last = {n: torch.stack([t, t + 0.1], -1) for n, t in case.tensors.items()}
    together = vmap(case.symmetry.act, in_dims=(None, -1))(g, last)
    alone = case.symmetry.act(g, {n: t[..., 1].contiguous() for n, t in last.items()})
    assert_close({n: t[1] for n, t in together.items()}, alone, rtol=1e-12, atol=1e-12)
