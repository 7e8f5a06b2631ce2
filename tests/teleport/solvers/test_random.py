"""Random elements: of the size asked for, reproducible, and never worse if they are sought."""

from math import inf

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.groups import Permutation, SignFlip
from isoloss.teleport import SOLVERS, GradientNorm, LieAscent, RandomSearch, RandomTeleport, Teleport, always
from networks import backward, hidden, linear_symmetries, mlp, mlp_symmetries
from teleport.solvers.solving import Any, arrived, fourth_powers, point_of, solve, the_loss


def network(activation=nn.LeakyReLU, symmetries=mlp_symmetries):
    model = mlp(5, 7, 6, 3, activation=activation).double()
    return list(symmetries(model)), point_of(model, torch.randn(9, 5).double(), torch.randn(9, 3).double())


every_network = pytest.mark.parametrize(
    "make", [network, lambda: network(nn.Identity, linear_symmetries)], ids=["scalings", "matrices"]
)


@every_network
def test_it_goes_exactly_as_far_as_the_radius(make):
    symmetries, point = make()
    found = solve(RandomTeleport(), GradientNorm(), symmetries, point, 0.3)
    logs = [s.group.norm(s.group.log(g)).max() for s, g in zip(symmetries, found.elements, strict=True)]
    assert max(logs) == pytest.approx(0.3, rel=1e-9) and min(logs) > 0.1
    there = arrived(symmetries, point, found.elements)
    assert_close(point.loss(there), point.loss(point.tensors), rtol=1e-13, atol=0.0)
    moved = torch.func.grad(point.loss)({n: there[n] for n in point.rates})
    assert_close(found.after, sum(g.square().sum() for g in moved.values()), rtol=1e-11, atol=0.0)
    assert found.size == 0.3 and found.transported


@pytest.mark.parametrize("solver", [RandomTeleport(), RandomSearch()], ids=["teleport", "search"])
def test_a_seed_says_where(solver):
    symmetries, point = network()
    one, two, three = (
        solve(solver, GradientNorm(), symmetries, point, 0.3, seed).elements for seed in (1, 1, 2)
    )
    assert_close(one, two, rtol=0.0, atol=0.0)
    assert not torch.equal(one[0], three[0])


@pytest.mark.parametrize("lower", [False, True])
@every_network
def test_a_search_is_never_worse_and_more_trials_are_no_worse(make, lower):
    symmetries, point = make()
    sign = -1 if lower else 1
    few, many = (solve(RandomSearch(k), Any(fourth_powers, lower), symmetries, point, 0.3) for k in (2, 32))
    assert sign * (few.after - few.before) >= 0 and sign * (many.after - few.after) >= 0
    assert sign * (many.after - many.before) > 0 and 0 < many.size <= 0.3
    assert_close(many.after, fourth_powers(point, arrived(symmetries, point, many.elements)))


def test_ascent_beats_random_search_of_the_same_cost():
    """Negative control of the ascent: directions matter in 13 dimensions."""
    symmetries, point = network()
    climbed = solve(LieAscent(10), GradientNorm(), symmetries, point, 0.3)
    drawn = solve(RandomSearch(11), GradientNorm(), symmetries, point, 0.3)
    assert climbed.after > drawn.after


def test_an_objective_that_is_constant_gives_the_identity():
    symmetries, point = network()
    found = solve(RandomSearch(), Any(the_loss), symmetries, point, 0.3)
    assert found.elements == [None, None] and "changes the objective" in found.skipped


def test_permutations_and_signs_take_part_if_asked():
    model = mlp(5, 7, 6, 3, activation=nn.Tanh).double()
    symmetries = [*hidden(model, Permutation, "units"), *hidden(model, SignFlip, "signs")]
    point = point_of(model, torch.randn(9, 5).double(), torch.randn(9, 3).double())
    assert not any(map(RandomTeleport().uses, symmetries))
    assert all(map(RandomTeleport(discrete=True).uses, symmetries))
    found = solve(RandomTeleport(discrete=True), Any(the_loss), symmetries, point, 0.3)
    assert all(s.group.contains(g) for s, g in zip(symmetries, found.elements, strict=True))
    assert found.size == 0.0
    assert_close(found.after, found.before, rtol=1e-13, atol=0.0)
    assert not torch.equal(arrived(symmetries, point, found.elements)["2.weight"], point.tensors["2.weight"])


def test_settings_and_radius_are_checked():
    symmetries, point = network()
    with pytest.raises(ValueError, match="trials must be a whole number of at least 1; got 0"):
        RandomSearch(0)
    for solver in (RandomTeleport(), RandomSearch()):
        with pytest.raises(ValueError, match=f"{type(solver).__name__}: the radius must be finite; got inf"):
            solve(solver, GradientNorm(), symmetries, point, inf)


def test_in_training_it_keeps_the_loss_and_reports_what_came_out():
    model = mlp(5, 8, 7, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    backward(model, x, y)
    teleport = Teleport(
        optimizer,
        mlp_symmetries(model),
        schedule=always,
        solver=RandomTeleport(),
        measure=lambda: nn.functional.mse_loss(model(x), y),
        generator=torch.Generator().manual_seed(0),
    )
    jump = teleport.step()
    assert jump.size == pytest.approx(0.1)
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-13)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-11)


def test_they_are_registered():
    assert SOLVERS["random-teleport"] is RandomTeleport and SOLVERS["random-search"] is RandomSearch
