"""Laws that hold for everything of a kind, as assertions; the tests say for which instances.

Tolerances are C * eps(dtype) * cond(g), never found by trying. C counts the operations of a law: an operation on
an axis of size n makes n roundings per entry, each of relative size eps / 2, which over a row of n entries amounts
to at most n ** 1.5 * eps / 2 in norm; a linear solve is backward stable with about twice that. So

    C = operations * n ** 1.5

and cond(g) is how much the map x -> g x can magnify a relative error: the condition number of the action as a
matrix, in coordinates (x, 1), so that translations count too.
"""

from math import prod

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves, tree_map

from isoloss.groups import Group, Product

# ---------------------------------------------------------------- what the laws of a group speak about


def axis(group: Group) -> tuple:
    """Shape of the smallest thing the group acts on; nested for a product."""
    if isinstance(group, Product):
        return tuple(axis(factor) for factor in group.groups)
    return (2,) * (group.own - 1) + (group.n,)


def point(group: Group, batch=(), rest=(), dtype=torch.float64):
    """Something for the group to act on."""
    if isinstance(group, Product):
        return tuple(point(factor, batch, rest, dtype) for factor in group.groups)
    return torch.randn(*batch, *rest, *axis(group), dtype=torch.float64).to(dtype)


def algebra_element(group: Group, batch=(), scale: float = 0.5, dtype=torch.float64):
    """A random combination of the basis, batch first."""
    coefficients = scale * torch.randn(*batch, group.dim, dtype=dtype)
    return tree_map(lambda b: torch.tensordot(coefficients, b, 1), group.basis(dtype=dtype))


def condition(group: Group, g) -> float:
    """Condition number of x -> g x in coordinates (x, 1); the largest over the batch and over factors."""
    if isinstance(group, Product):
        return max(condition(factor, gi) for factor, gi in zip(group.groups, g, strict=True))
    g = g.double() if g.is_floating_point() else g
    batch, size = g.shape[: g.dim() - len(group.element_shape)], prod(axis(group))
    images = [group.act(g, x.expand(*batch, *x.shape)) for x in (_units(group), _units(group) * 0)]
    linear, shift = (images[0] - images[1]).flatten(-group.own), images[1].flatten(-group.own)[..., :1, :]
    corner = torch.ones(*batch, 1, 1, dtype=torch.float64)
    rows = [torch.cat([linear, torch.zeros(*batch, size, 1).double()], -1), torch.cat([shift, corner], -1)]
    return torch.linalg.cond(torch.cat(rows, -2)).max().item()


def _units(group: Group) -> Tensor:
    size = prod(axis(group))
    return torch.eye(size, dtype=torch.float64).reshape(size, *axis(group))


def assert_near(group: Group, actual, expected, *, operations: int, cond: float = 1.0, dtype=None) -> None:
    """Both agree up to ``operations * n**1.5 * eps * cond`` of the largest row, or of 1 if that is larger."""
    for a, e in zip(tree_leaves(actual), tree_leaves(expected), strict=True):
        if not e.is_floating_point():
            assert_close(a, e, rtol=0, atol=0)
            continue
        size = max(1.0, torch.linalg.vector_norm(e.double(), dim=-1).max().item()) if e.numel() else 1.0
        eps = torch.finfo(dtype or e.dtype).eps
        bound = operations * group.n**1.5 * eps * cond * size
        assert_close(a.double(), e.double(), rtol=0, atol=bound)


def assert_equal(actual, expected) -> None:
    """Both agree bit for bit, dtype included."""
    for a, e in zip(tree_leaves(actual), tree_leaves(expected), strict=True):
        assert_close(a, e, rtol=0, atol=0)


# ---------------------------------------------------------------- the group itself


def assert_associative(group: Group, g, h, k) -> None:
    """(g h) k == g (h k)"""
    left = group.compose(group.compose(g, h), k)
    right = group.compose(g, group.compose(h, k))
    cond = condition(group, g) * condition(group, h) * condition(group, k)
    assert_near(group, left, right, operations=4, cond=cond)


def assert_has_identity(group: Group, g, batch=()) -> None:
    """e g == g == g e, exactly: nothing is rounded"""
    e = group.identity(batch, dtype=torch.float64)
    assert_equal(group.compose(e, g), g)
    assert_equal(group.compose(g, e), g)
    assert group.contains(e)


def assert_has_inverse(group: Group, g, batch=()) -> None:
    """g g^-1 == e == g^-1 g"""
    e = group.identity(batch, dtype=torch.float64)
    cond = condition(group, g)
    assert_near(group, group.compose(g, group.inverse(g)), e, operations=2, cond=cond)
    assert_near(group, group.compose(group.inverse(g), g), e, operations=2, cond=cond)


def assert_closed(group: Group, g, h) -> None:
    """Products and inverses are elements."""
    assert group.contains(g) and group.contains(h)
    assert group.contains(group.compose(g, h))
    assert group.contains(group.inverse(g))


# ---------------------------------------------------------------- the exponential


def assert_one_parameter_subgroup(group: Group, a) -> None:
    """exp(0) == e and exp(a / 4) exp(3 a / 4) == exp(a)"""
    parts = [group.exp(tree_map(lambda a, t=t: t * a, a)) for t in (0.25, 0.75)]
    whole = group.exp(a)
    # An exponential sums a dozen powers of a / 2^k and squares k times: 16 operations.
    assert_near(group, group.compose(*parts), whole, operations=3 * 16 + 1, cond=condition(group, whole))
    assert group.contains(whole)


def assert_log_inverts_exp(group: Group, a) -> None:
    """exp(log(exp(a))) == exp(a), and log(exp(a)) == a while |a| < pi"""
    g = group.exp(a)
    back = group.log(g)
    cond = condition(group, g)
    # Logarithm: some ten square roots or one eigendecomposition, 32 operations; 16 for each exponential.
    assert_near(group, group.exp(back), g, operations=64, cond=cond)
    assert_near(group, back, a, operations=64, cond=cond)


def assert_basis_spans(group: Group, elements) -> None:
    """There are ``dim`` basis elements, independent, in the group once exponentiated; they span every log."""
    basis = group.basis(dtype=torch.float64)
    assert all(b.shape[0] == group.dim for b in tree_leaves(basis))
    assert group.contains(group.exp(basis))
    columns = _flat(basis, group.dim)
    assert torch.linalg.matrix_rank(columns) == group.dim
    logs = _flat(elements, len(tree_leaves(elements)[0]))
    residual = logs - logs @ torch.linalg.pinv(columns) @ columns
    assert_near(group, residual, torch.zeros_like(residual), operations=2)


def _flat(elements, count: int) -> Tensor:
    return torch.cat([leaf.reshape(count, prod(leaf.shape[1:])) for leaf in tree_leaves(elements)], -1)


# ---------------------------------------------------------------- the action


def assert_identity_acts_trivially(group: Group, x, charge, batch=()) -> None:
    """e x == x, exactly"""
    assert_equal(group.act(group.identity(batch, dtype=torch.float64), x, charge), x)


def assert_compatible(group: Group, g, h, x, charge) -> None:
    """(g h) x == g (h x)"""
    together = group.act(group.compose(g, h), x, charge)
    in_turn = group.act(g, group.act(h, x, charge), charge)
    # The charge is an exponent: it multiplies relative errors, and raises condition numbers to its power.
    power = max(1.0, abs(float(charge)))
    cond = (condition(group, g) * condition(group, h)) ** power
    assert_near(group, together, in_turn, operations=4 * power, cond=cond)


def assert_velocity_is_derivative(group: Group, a, x, charge) -> None:
    """d/dt exp(t a) x at t = 0, by forward differentiation, is the velocity"""
    zero = torch.zeros((), dtype=torch.float64)

    def orbit(t):
        return group.act(group.exp(tree_map(lambda a: t * a, a)), x, charge)

    _, derivative = jvp(orbit, (zero,), (torch.ones_like(zero),))
    assert_near(group, group.velocity(a, x, charge), derivative, operations=4 * max(1, abs(charge)))


def assert_dual_pairs(group: Group, g, x, x2, y, charge) -> None:
    """<dual(g) y, g x - g x'> == <y, x - x'>: how gradients move"""
    moved = tree_map(torch.sub, group.act(g, x, charge), group.act(g, x2, charge))
    before = _inner(y, tree_map(torch.sub, x, x2))
    cond = condition(group, g) ** (2 * max(1.0, abs(float(charge))))
    scale = _inner(y, y) ** 0.5 * _inner(x, x) ** 0.5
    bound = 4 * group.n**1.5 * torch.finfo(torch.float64).eps * cond * scale.item()
    assert_close(_inner(group.dual(g, y, charge), moved), before, rtol=0, atol=bound)


def _inner(y, x) -> Tensor:
    return sum((a * b).sum() for a, b in zip(tree_leaves(y), tree_leaves(x), strict=True))


# ---------------------------------------------------------------- batches, transforms, dtypes, randomness


def assert_batch_is_loop(f, group: Group, *arguments, cond: float = 1.0, operations: int = 4) -> None:
    """f on a batch is f on each of its entries, stacked; and so it is under ``torch.func.vmap``"""
    together = f(*arguments)
    count = len(tree_leaves(arguments)[0])
    entries = [f(*tree_map(lambda t, i=i: t[i], arguments)) for i in range(count)]
    loop = tree_map(lambda *leaves: torch.stack(leaves), *entries)
    assert_near(group, together, loop, operations=operations, cond=cond)


def assert_vmaps(f, group: Group, *arguments, cond: float = 1.0, operations: int = 4) -> None:
    """Under ``torch.func.vmap`` f does what it does on a batch; vmap refuses branches on values and ``item``"""
    assert_near(group, vmap(f)(*arguments), f(*arguments), operations=operations, cond=cond)


def assert_reproducible(group: Group) -> None:
    """The same seed gives the same element, in every dtype, and leaves the global generator alone"""

    def draw(seed, **options):
        return group.sample((3,), generator=torch.Generator().manual_seed(seed), **options)

    state = torch.get_rng_state()
    first, again, other = (
        draw(0, dtype=torch.float64),
        draw(0, dtype=torch.float64),
        draw(1, dtype=torch.float64),
    )
    assert_equal(torch.get_rng_state(), state)
    assert_equal(again, first)
    if group.n > 1:
        assert any((a != b).any() for a, b in zip(tree_leaves(first), tree_leaves(other), strict=True))
    # Drawn in float64, exponentiated in float32: 16 operations, see assert_one_parameter_subgroup.
    cond = condition(group, first)
    assert_near(group, draw(0, dtype=torch.float32), first, operations=16, cond=cond, dtype=torch.float32)
