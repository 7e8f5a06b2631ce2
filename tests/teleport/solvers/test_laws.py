"""What every solver promises: the loss, the better end, the point untouched, the same answer twice, and off at zero."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.testing import assert_close

from isoloss import find
from isoloss.teleport import (
    SOLVERS,
    Balance,
    Curvature,
    Custom,
    DiscreteSearch,
    Distance,
    GradientNorm,
    LevelSetAscent,
    LieAscent,
    NullSpaceProjection,
    PredictedDecrease,
    QuadraticForm,
    RandomSearch,
    RandomTeleport,
    Sharpness,
    TangentAscent,
    Teleport,
    always,
)
from networks import backward, gradients, mlp, snapshot
from teleport.solvers.solving import arrived, point_of, solve

# Largest relative change of the loss on the minibatch; rounding where nothing else is promised.
KEEPS = {
    LieAscent(4): 1e-12,
    LieAscent(4, retraction="first-order"): 1e-12,
    LieAscent(4, metric="spectral"): 1e-12,
    TangentAscent(4): 0.05,
    RandomTeleport(): 1e-12,
    RandomSearch(6): 1e-12,
    RandomSearch(6, discrete=True): 1e-12,
    DiscreteSearch(60): 1e-12,
    LevelSetAscent(4): 1e-3,
    NullSpaceProjection(4): 1e-10,
}
OBJECTIVES = {
    "gradient norm": lambda s, p: GradientNorm(),
    "lowered": lambda s, p: GradientNorm(lower=True),
    "balance": lambda s, p: Balance(),
    "predicted decrease": lambda s, p: PredictedDecrease(),
    "sharpness": lambda s, p: Sharpness(displacements=(0.3, 1.0), directions=3),
    "curvature": lambda s, p: Curvature.of(s, generator=torch.Generator().manual_seed(0)),
    "distance": lambda s, p: Distance({n: 0.9 * t.flip(0) for n, t in p.tensors.items()}),
    "custom": lambda s, p: Custom(lambda point, w: sum(t.abs().sum() for t in w.values())),
}
# On sums of squares nothing happens; sharpness and curvature tell neurons apart by the directions drawn.
NO_CHANGE = {DiscreteSearch(60): {"gradient norm", "lowered", "balance", "predicted decrease", "custom"}}

every_solver = pytest.mark.parametrize("solver", KEEPS, ids=repr)
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def network(activation=nn.Tanh):
    """Tanh: signs and permutations, and a smooth loss; with a linear layer beside it, GL as well."""
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 7), activation(), nn.Linear(7, 3)).double()
    x = torch.randn(5, 8).double()
    return model, find(model, x), point_of(model, x, torch.randn(5, 3).double())


def used(solver, symmetries):
    return [s for s in symmetries if solver.uses(s)]


@every_objective
@every_solver
def test_the_loss_is_kept_and_the_end_is_no_worse(solver, name):
    _, symmetries, point = network()
    mine, objective = used(solver, symmetries), OBJECTIVES[name](symmetries, point)
    assert bool(mine) is solver.along_symmetries
    before = {n: t.clone() for n, t in point.tensors.items()}
    found = solve(solver, objective, mine, point, 0.05)
    there = point.tensors | dict(found.displaced or arrived(mine, point, found.elements))
    assert_close(found.before, objective.evaluate(point, point.tensors).double(), rtol=1e-11, atol=0.0)
    assert_close(found.after, objective.evaluate(point, there).double(), rtol=1e-10, atol=0.0)
    assert_close(point.loss(there), point.loss(point.tensors), rtol=KEEPS[solver], atol=0.0)
    assert_close(dict(point.tensors), before, rtol=0.0, atol=0.0)  # looked at, not touched
    assert found.size <= 0.05 * (1 + 1e-9)
    gain = (found.before - found.after) if objective.lower else (found.after - found.before)
    if name in NO_CHANGE.get(solver, ()):
        assert gain == 0.0 and found.skipped
    elif not isinstance(solver, RandomTeleport):
        # Few trials of permutations may all be worse; what follows a slope, or tries small elements, must gain.
        by_chance = solver in (DiscreteSearch(60), RandomSearch(6, discrete=True))
        assert gain > 0.0 or (by_chance and found.skipped is not None)
        assert (found.skipped is None) is any(not torch.equal(there[n], t) for n, t in point.tensors.items())


@every_solver
def test_the_same_seed_gives_the_same_answer(solver):
    _, symmetries, point = network()
    objective, mine = Sharpness(displacements=(0.5,), directions=2), used(solver, symmetries)
    one, two = (solve(solver, objective, mine, point, 0.05, seed=3) for _ in range(2))
    assert_close(one.elements, two.elements, rtol=0.0, atol=0.0)
    assert_close(dict(one.displaced or {}), dict(two.displaced or {}), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("solver", [*KEEPS, QuadraticForm()], ids=repr)
def test_a_radius_of_zero_is_the_plain_optimizer_bit_for_bit(solver):
    runs = []
    for teleporting in (False, True):
        torch.manual_seed(1)
        model, symmetries, _ = network()
        x, y = torch.randn(5, 8).double(), torch.randn(5, 3).double()
        optimizer = Adam(model.parameters(), lr=0.05)
        loss = lambda model=model, x=x, y=y: mse_loss(model(x), y)  # noqa: E731
        options = {"loss": loss, "generator": torch.Generator().manual_seed(0)}
        teleport = Teleport(optimizer, symmetries, GradientNorm(), always, 0.0, solver, **options)
        for _ in range(3):
            backward(model, x, y)
            assert not teleporting or teleport.step().skipped
            optimizer.step()
        runs.append(snapshot(model, optimizer))
    assert_close(*runs, rtol=0.0, atol=0.0)


@every_solver
def test_in_training_gradients_follow_and_the_report_is_true(solver):
    model, symmetries, _ = network()
    x, y = torch.randn(5, 8).double(), torch.randn(5, 3).double()
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(2):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    closure = lambda: mse_loss(model(x), y)  # noqa: E731
    objective = Sharpness(displacements=(0.3, 1.0), directions=3)
    options = {"loss": closure, "measure": closure, "generator": torch.Generator().manual_seed(0)}
    jump = Teleport(optimizer, symmetries, objective, always, 0.1, solver, **options).step()
    found = gradients(model)
    backward(model, x, y)
    assert_close(found, gradients(model), rtol=1e-9, atol=1e-12)
    if jump.skipped is None:
        assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-10)
        assert jump.loss_after == pytest.approx(jump.loss_before, rel=KEEPS[solver])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("solver", [*KEEPS, QuadraticForm()], ids=repr)
def test_training_that_has_diverged_is_reported_and_left_alone(solver, bad):
    model, symmetries, _ = network()
    x, y = torch.randn(5, 8).double(), torch.randn(5, 3).double()
    optimizer = SGD(model.parameters(), lr=0.05)
    with torch.no_grad():
        model[1].weight[2, 3] = bad
    backward(model, x, y)
    before = snapshot(model, optimizer)
    options = {"loss": lambda: mse_loss(model(x), y), "generator": torch.Generator().manual_seed(0)}
    jump = Teleport(optimizer, symmetries, GradientNorm(), always, 0.1, solver, **options).step()
    assert "not finite" in jump.skipped
    assert_close(snapshot(model, optimizer), before, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_solver
def test_narrow_dtypes_keep_theirs_and_stay_finite(solver, dtype):
    model = mlp(8, 6, 3).to(dtype)
    x, y = torch.randn(4, 8).to(dtype), torch.randn(4, 3).to(dtype)
    symmetries = find(model, x)
    backward(model, x, y)
    optimizer = SGD(model.parameters(), lr=0.05)
    options = {"loss": lambda: mse_loss(model(x), y), "generator": torch.Generator().manual_seed(0)}
    before = mse_loss(model(x), y).item()
    Teleport(optimizer, symmetries, GradientNorm(), always, 0.1, solver, **options).step()
    assert all(p.dtype is dtype and p.isfinite().all() for p in model.parameters())
    rounding = 64 * torch.finfo(dtype).eps
    assert mse_loss(model(x), y).item() == pytest.approx(before, rel=max(rounding, KEEPS[solver]))


@pytest.mark.parametrize("solver", [*KEEPS, QuadraticForm()], ids=repr)
def test_solvers_are_values_and_registered(solver):
    assert type(solver) in SOLVERS.values()
    assert solver == eval(repr(solver), {type(solver).__name__: type(solver)})
    with pytest.raises(FrozenInstanceError):
        solver.steps = 1
