"""Ascent in the algebras: against autograd through the group, and what it must not do."""

from math import inf

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.groups import Affine, GeneralLinear, Orthogonal, Permutation, PositiveScaling, Translation
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport import (
    SOLVERS,
    Balance,
    GradientNorm,
    LieAscent,
    TangentAscent,
    Teleport,
    TransportedAscent,
    always,
)
from networks import (
    Attention,
    Rotary,
    attention_symmetries,
    backward,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    rotary_symmetries,
    snapshot,
)
from teleport.solvers.solving import Any, arrived, fourth_powers, point_of, solve, squared_norm, the_loss


def scalings():
    model = mlp(5, 7, 6, 3).double()
    return list(mlp_symmetries(model)), point_of(
        model, torch.randn(9, 5).double(), torch.randn(9, 3).double()
    )


def matrices():
    model = mlp(5, 4, 6, 3, activation=nn.Identity).double()
    return list(linear_symmetries(model)), point_of(
        model, torch.randn(9, 5).double(), torch.randn(9, 3).double()
    )


def heads():
    model = Attention().double()
    x = torch.randn(2, 5, 12).double()
    return list(attention_symmetries(model)), point_of(model, x, torch.randn(2, 5, 12).double())


def rotary():
    model = Rotary().double()
    return list(rotary_symmetries(model)), point_of(
        model, torch.randn(2, 5, 6).double(), torch.randn(2, 5, 5).double()
    )


def rotations():
    """O(6) between two linear maps, of which one is the transpose of the other: w^T w stays."""
    model = nn.Linear(4, 6, bias=False).double()
    model.forward = lambda x: x @ (model.weight.mT @ model.weight)
    slot = Slot("weight", Block.whole((6, 4)), (0,))
    x, y = torch.randn(9, 4).double(), torch.randn(9, 4).double()
    return [Symmetry(Orthogonal(6), (slot,))], point_of(model, x, y)


CASES = {f.__name__: f for f in (scalings, matrices, heads, rotary, rotations)}
every_case = pytest.mark.parametrize("build", [pytest.param(f, id=n) for n, f in CASES.items()])


def twin(symmetries, point, f, rate, steps, group_map):
    """Algorithm 2, literally: T = 0, differentiate f(g(T) w) through the group, move, and again."""
    here = {n: t.clone() for n, t in point.tensors.items()}
    for _ in range(steps):
        algebra = [
            torch.zeros(*s.batch, *s.group.algebra_shape, dtype=torch.float64, requires_grad=True)
            for s in symmetries
        ]
        moved = dict(here)
        for s, a in zip(symmetries, algebra, strict=True):
            moved |= s.act(group_map(s.group, s.group.project(a)), moved)
        found = torch.autograd.grad(f(point, moved), algebra)
        for s, a in zip(symmetries, found, strict=True):
            here |= s.act(group_map(s.group, rate * a).detach(), here)
    return {n: t.detach() for n, t in here.items()}


@every_case
@pytest.mark.parametrize("f", [squared_norm, fourth_powers], ids=lambda f: f.__name__)
def test_it_does_what_autograd_through_the_group_does(build, f):
    symmetries, point = build()
    f = fourth_powers if build is rotations else f  # rotations keep the gradient norm
    found = solve(LieAscent(steps=3, rate=1e-3), Any(f), symmetries, point, inf)
    expected = twin(symmetries, point, f, 1e-3, 3, lambda group, a: group.exp(a))
    there = arrived(symmetries, point, found.elements)
    # Elements are composed here, parameters moved there: some hundred roundings of 1e-16.
    assert_close(there, expected, rtol=1e-12, atol=1e-13)
    assert_close(found.after, f(point, there), rtol=1e-12, atol=0.0)
    assert found.after > found.before


def test_first_order_retraction_is_algorithm_2():
    """Bounded by what 1 + T reaches: at this rate 1 - exp(-|T|) is |T| to 1e-6, and only then is it the twin."""
    symmetries, point = matrices()
    found = solve(
        LieAscent(steps=3, rate=1e-6, retraction="first-order"), Any(squared_norm), symmetries, point, inf
    )
    expected = twin(
        symmetries, point, squared_norm, 1e-6, 3, lambda group, a: group.identity(dtype=a.dtype) + a
    )
    there = arrived(symmetries, point, found.elements)
    moved = max((there[n] - t).abs().max().item() for n, t in point.tensors.items())
    assert moved > 1e-7
    assert_close(there, expected, rtol=0.0, atol=1e-4 * moved)


@every_case
@pytest.mark.parametrize("retraction", ["exponential", "first-order"])
def test_the_loss_stays_and_the_radius_holds(build, retraction):
    symmetries, point = build()
    found = solve(LieAscent(5, retraction=retraction), Any(fourth_powers), symmetries, point, 0.4)
    there = arrived(symmetries, point, found.elements)
    assert_close(point.loss(there), point.loss(point.tensors), rtol=1e-13, atol=0.0)
    assert 0.0 < found.size <= 0.4 * (1 + 1e-12)
    for symmetry, g in zip(symmetries, found.elements, strict=True):
        assert symmetry.group.contains(g)
        logs = (
            symmetry.group.norm(symmetry.group.log(g))
            if not isinstance(symmetry.group, GeneralLinear)
            else (torch.linalg.svdvals(g).log().abs().amax(-1))
        )
        assert logs.max() <= 0.4 * (1 + 1e-9)
    assert fourth_powers(point, there) == pytest.approx(found.after.item(), rel=1e-12)


@every_case
def test_an_objective_that_is_constant_on_the_orbit_gives_the_identity(build):
    symmetries, point = build()
    found = solve(LieAscent(), Any(the_loss), symmetries, point, 0.5)
    assert found.elements == [None] * len(symmetries)
    assert found.size == 0.0 and found.before == found.after
    assert "changes the objective" in found.skipped


def test_rotations_do_not_change_a_norm():
    symmetries, point = rotations()
    for objective in (GradientNorm(), Balance(), Any(squared_norm)):
        assert solve(LieAscent(), objective, symmetries, point).elements == [None]


@pytest.mark.parametrize("lower", [False, True])
@every_case
def test_it_never_ends_where_it_is_worse(build, lower):
    symmetries, point = build()
    sign = -1 if lower else 1
    # A rate that overshoots by far.
    found = solve(LieAscent(8, rate=100.0), Any(fourth_powers, lower), symmetries, point, 3.0)
    assert sign * (found.after - found.before) >= 0
    short = solve(LieAscent(8), Any(fourth_powers, lower), symmetries, point, 0.2)
    assert sign * (short.after - short.before) > 0


@pytest.mark.parametrize("objective", [GradientNorm(), GradientNorm(lower=True)], ids=["raised", "lowered"])
@pytest.mark.parametrize("build", [scalings, matrices, heads, rotary])
def test_transported_gradients_say_what_passes_would(build, objective):
    symmetries, point = build()
    free = solve(LieAscent(4), objective, symmetries, point, 0.3)
    paid = solve(LieAscent(4), Any(squared_norm, objective.lower), symmetries, point, 0.3)
    assert free.transported and not paid.transported
    assert_close((free.before, free.after), (paid.before, paid.after), rtol=1e-10, atol=0.0)
    assert_close(free.elements, paid.elements, rtol=1e-9, atol=1e-11)


def test_the_parameter_norm_is_carried_along_too():
    symmetries, point = matrices()
    found = solve(LieAscent(5), Balance(), symmetries, point, 0.3)
    there = arrived(symmetries, point, found.elements)
    assert_close(found.after, sum(t.square().sum() for t in there.values()), rtol=1e-12, atol=0.0)
    assert not found.transported and found.after < found.before


def test_a_loss_is_needed_only_where_something_is_evaluated():
    symmetries, point = scalings()
    blind = type(point)(point.tensors, point.gradients, point.rates)
    assert solve(LieAscent(2), GradientNorm(), symmetries, blind).after > 0
    with pytest.raises(ValueError, match="must have a length; got radius inf and no rate"):
        solve(LieAscent(2), GradientNorm(), symmetries, blind, inf)


W = Block.whole((4, 4))


@pytest.mark.parametrize(
    ("group", "used"),
    [
        (PositiveScaling(4), True),
        (GeneralLinear(4), True),
        (Orthogonal(4), True),
        (Permutation(4), False),
        (Translation(4), False),
        (Affine(4), False),
    ],
    ids=str,
)
def test_what_it_uses(group, used):
    assert LieAscent().uses(Symmetry(group, (Slot("w", W, (0,)),))) is used
    assert TangentAscent().uses(Symmetry(group, (Slot("w", W, (0,)),))) is used


def test_bad_settings_are_refused():
    for bad in ({"retraction": "cayley"}, {"metric": "max"}, {"steps": 0}, {"steps": True}, {"rate": "fast"}):
        with pytest.raises(ValueError, match=f"LieAscent: .*{next(iter(bad))} .*; got"):
            LieAscent(**bad)


@every_case
def test_the_spectral_metric_gains_more_within_the_same_radius(build):
    symmetries, point = build()
    ends = [
        solve(LieAscent(4, metric=m), Any(fourth_powers), symmetries, point, 0.1)
        for m in ("frobenius", "spectral")
    ]
    assert ends[1].after > ends[0].after > ends[0].before
    assert ends[1].size == pytest.approx(0.1)


def test_one_spectral_step_on_scalings_is_the_corner_of_transported_ascent():
    """To raise a posynomial by one step, signs of the slopes: the same corner of the cube, by another way."""
    symmetries, point = scalings()
    one = solve(LieAscent(1, metric="spectral"), GradientNorm(), symmetries, point, 0.05)
    other = solve(TransportedAscent(), GradientNorm(), symmetries, point, 0.05)
    assert_close(one.elements, other.elements, rtol=1e-12, atol=1e-12)
    assert_close(one.after, other.after, rtol=1e-11, atol=0.0)


def test_in_training_it_moves_everything_and_keeps_the_loss():
    model = mlp(5, 8, 7, 3).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    for _ in range(2):
        backward(model, x, y)
        optimizer.step()
    before = backward(model, x, y)

    def closure():
        return nn.functional.mse_loss(model(x), y)

    options = {"schedule": always, "solver": LieAscent(4), "loss": closure, "measure": closure, "radius": 0.3}
    jump = Teleport(optimizer, mlp_symmetries(model), Any(squared_norm), **options).step()
    assert jump.loss_after == pytest.approx(before.item(), rel=1e-13)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-12)
    assert jump.after == pytest.approx(jump.gradient_norm_after**2, rel=1e-12)
    assert jump.gradient_norm_after > jump.gradient_norm_before
    held = snapshot(model, optimizer)
    skipped = Teleport(optimizer, mlp_symmetries(model), Any(the_loss), **options).step()
    assert "changes the objective" in skipped.skipped
    assert_close(snapshot(model, optimizer), held, rtol=0.0, atol=0.0)


def test_it_is_registered():
    assert SOLVERS["lie-ascent"] is LieAscent
