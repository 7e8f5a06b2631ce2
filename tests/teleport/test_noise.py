"""What counts as rounding."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from isoloss import find
from isoloss.teleport import (
    DependentAscent,
    DiscreteSearch,
    LevelSetAscent,
    LieAscent,
    RandomSearch,
    Sharpness,
    TangentAscent,
)
from isoloss.teleport._noise import Noise, rounding
from teleport.solvers.solving import point_of, solve


def test_it_is_relative_and_absolute():
    noise = Noise(1e-3, 0.5)
    assert noise.hides(0.5, 100.0) and noise.hides(0.59, -100.0) and not noise.hides(0.61, 100.0)
    assert noise.hides(float("nan"), 1.0) and noise.hides(-1.0, 1.0)


@dataclass(frozen=True)
class Quiet(Sharpness):
    """A control: half of the digits are rounding, whatever the loss."""

    roundings = None

    def noise(self, point):
        return 0.0


def network():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = torch.randn(5, 4), 100.0 + torch.randn(5, 3)
    return model, x, y


def tried(solver, model, x, point, objective):
    if isinstance(solver, LevelSetAscent):
        return solve(solver, objective, [], point)
    found = find(model, x)
    bound = solver.bound(found) if hasattr(solver, "bound") else solver
    return solve(bound, objective, [s for s in found if bound.uses(s)], point)


SOLVERS = [
    LieAscent(8),
    RandomSearch(20),
    DiscreteSearch(100),
    TangentAscent(8),
    LevelSetAscent(8),
    DependentAscent(steps=4),
]
FAINT = {"displacements": (-1e-4, 1e-4), "directions": 4, "excess": True}


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_no_solver_takes_the_rounding_of_the_loss_for_a_gain_of_the_excess(solver):
    """At displacements of 1e-4 the excess is some 1e-7 of a loss of 1e4; float32 resolves 1e-3."""
    model, x, y = network()
    point = point_of(model, x, y)
    objective = Sharpness(**FAINT)
    assert objective.noise(point) == 32 * torch.finfo(torch.float32).eps * point.loss({}).item()
    assert tried(solver, model, x, point, objective).skipped is not None


@pytest.mark.parametrize("solver", [RandomSearch(20), DiscreteSearch(100)], ids=lambda s: type(s).__name__)
def test_without_a_noise_they_would(solver):
    model, x, y = network()
    assert tried(solver, model, x, point_of(model, x, y), Quiet(**FAINT)).skipped is None


@pytest.mark.parametrize("solver", [LieAscent(8), RandomSearch(20)], ids=lambda s: type(s).__name__)
def test_larger_gains_count(solver):
    model, x, y = network()
    objective = Sharpness(displacements=(-0.5, 0.5), directions=4, excess=True)
    found = tried(solver, model, x, point_of(model, x, y - 100.0), objective)
    assert found.skipped is None and found.after < found.before


def test_the_loss_itself_has_no_absolute_noise():
    model, x, y = network()
    point = point_of(model, x, y)
    assert Sharpness().noise(point) == 0.0
    assert Noise.of(point, Sharpness()) == Noise(16 * point.eps)
    assert Noise.of(point, replace(Sharpness(), excess=True)).absolute > 0.0
    assert rounding(point) == point.eps**0.5
