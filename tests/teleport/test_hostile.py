"""What a careless or hostile user passes gets one clear sentence, or a report, and changes nothing."""

import copy

import pytest
import torch
from torch import nn

from isoloss import Teleport, find
from isoloss.teleport import (
    Curvature,
    DiscreteSearch,
    Distance,
    LevelSetAscent,
    LieAscent,
    MovedInputs,
    NullSpaceProjection,
    QuadraticForm,
    RandomSearch,
    RandomTeleport,
    Sharpness,
    TangentAscent,
    always,
    averaged,
    every,
)

SOLVERS = {
    "null-space": NullSpaceProjection(2),
    "level-set": LevelSetAscent(2),
    "quadratic": QuadraticForm(),
    "tangent": TangentAscent(2),
    "random": RandomTeleport(discrete=True),
    "search": RandomSearch(2, discrete=True),
    "discrete": DiscreteSearch(4),
    "lie": LieAscent(2),
}
EVALUATE = ("null-space", "level-set", "quadratic", "tangent")


def ready(model: nn.Module | None = None, dtype: torch.dtype = torch.float32):
    model = model or nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    x, y = torch.randn(4, 3), torch.randn(4, 2)
    symmetries = find(model, x)
    model, x, y = model.to(dtype), x.to(dtype), y.to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def loss():
        return (model(x) - y).square().mean()

    loss().backward()
    return model, optimizer, symmetries, loss


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()} | {
        f"grad {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n].nan_to_num(7.0), b[n].nan_to_num(7.0)) for n in a)


CLOSURES = {
    "a tuple": (lambda m, loss: lambda: (loss(), 1), "must return a tensor with one number; got tuple"),
    "a number": (lambda m, loss: lambda: 3, "must return a tensor with one number; got int"),
    "a vector": (lambda m, loss: lambda: m[0].weight.sum(1), r"got shape \(5,\); return the mean"),
    "no graph": (lambda m, loss: lambda: loss().detach(), "must be a differentiable function"),
}


@pytest.mark.parametrize("name", EVALUATE)
@pytest.mark.parametrize("kind", CLOSURES)
def test_closures_that_return_something_else(name, kind):
    make, said = CLOSURES[kind]
    model, optimizer, symmetries, loss = ready()
    before = state(model)
    teleport = Teleport(optimizer, symmetries, None, always, solver=SOLVERS[name], loss=make(model, loss))
    with pytest.raises(ValueError, match=said):
        teleport.step()
    assert same(state(model), before)


@pytest.mark.parametrize("name", EVALUATE)
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_reported(name, factor):
    model, optimizer, symmetries, loss = ready()
    before = state(model)
    teleport = Teleport(
        optimizer, symmetries, None, always, solver=SOLVERS[name], loss=lambda: loss() * factor
    )
    jump = teleport.step()
    assert jump is not None and "not finite" in (jump.skipped or "") and same(state(model), before)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_every_precision_jumps_or_says_why_not(name, dtype):
    model, optimizer, symmetries, loss = ready(dtype=dtype)
    before = state(model)
    jump = Teleport(optimizer, symmetries, None, always, solver=SOLVERS[name], loss=loss).step()
    assert jump is not None and all(p.isfinite().all() and p.dtype == dtype for p in model.parameters())
    assert (jump.skipped is not None) == same(state(model), before)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_radius_of_zero_changes_nothing(name):
    model, optimizer, symmetries, loss = ready()
    before = state(model)
    jump = Teleport(optimizer, symmetries, None, always, 0.0, SOLVERS[name], loss=loss).step()
    assert jump is not None and jump.skipped and same(state(model), before)


@pytest.mark.parametrize("name", SOLVERS)
def test_frozen_models_say_that_nothing_is_trained(name):
    model, optimizer, symmetries, loss = ready()
    model.requires_grad_(False)
    before = state(model)
    warned = pytest.warns(UserWarning, match="is frozen") if name not in EVALUATE[:3] else _nothing()
    with warned, pytest.raises(ValueError, match="got no parameter that requires them; thaw what is to be"):
        Teleport(optimizer, symmetries, None, always, solver=SOLVERS[name], loss=loss).step()
    assert same(state(model), before)


def _nothing():
    import contextlib

    return contextlib.nullcontext()


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.unused = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), nn.Linear(2, 2)

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("name", SOLVERS)
def test_unused_parameters_stay(name):
    model, optimizer, symmetries, loss = ready(Unused())
    before = copy.deepcopy(model.unused.state_dict())
    assert Teleport(optimizer, symmetries, None, always, solver=SOLVERS[name], loss=loss).step() is not None
    assert all(torch.equal(p, before[n]) for n, p in model.unused.state_dict().items())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.out = nn.Linear(3, 3), nn.Linear(3, 2)
        self.two = self.one

    def forward(self, x):
        return self.out(self.two(self.one(x).tanh()).tanh())


@pytest.mark.parametrize("name", EVALUATE[:3])
def test_a_layer_under_two_names(name):
    model, optimizer, symmetries, loss = ready(Shared())
    value, weight = loss().item(), model.one.weight
    jump = Teleport(optimizer, symmetries, None, always, 0.01, SOLVERS[name], loss=loss).step()
    assert jump is not None and model.one.weight is weight is model.two.weight
    # The level set is kept to a thousandth.
    assert loss().item() == pytest.approx(value, rel=2e-3)


MISTAKES = {
    "an uncalled schedule": lambda o, s, f: Teleport(o, s, schedule=every),
    "a schedule without the step": lambda o, s, f: Teleport(o, s, schedule=lambda: True),
    "a loss with arguments": lambda o, s, f: Teleport(o, s, loss=lambda x: x),
    "a number as measure": lambda o, s, f: Teleport(o, s, measure=3),
    "minibatches that are none": lambda o, s, f: Teleport(
        o, s, None, always, minibatches=lambda: None
    ).step(),
    "minibatches of numbers": lambda o, s, f: Teleport(o, s, None, always, minibatches=lambda: [3]).step(),
    "an empty list of minibatches": lambda o, s, f: Teleport(o, s, None, always, minibatches=list).step(),
    "averaged nothing": lambda o, s, f: averaged(None),
    "averaged numbers": lambda o, s, f: averaged([3]),
    "kinds": lambda o, s, f: Teleport(o, s, kinds=3),
    "approximate as text": lambda o, s, f: Teleport(o, s, approximate="no"),
    "distance to nothing": lambda o, s, f: Distance({}),
    "distance to numbers": lambda o, s, f: Distance({"0.weight": 3}),
    "displacements": lambda o, s, f: Sharpness(displacements=5),
    "displacements of text": lambda o, s, f: Sharpness(displacements=("a",)),
    "a curve": lambda o, s, f: Curvature(3),
    "curves along a number": lambda o, s, f: Curvature.of(3),
    "features as text": lambda o, s, f: MovedInputs(nn.Linear(2, 2), "2"),
    "a number as model": lambda o, s, f: MovedInputs(3, 3),
    "a negative radius": lambda o, s, f: Teleport(o, s, radius=-1),
    "no steps": lambda o, s, f: NullSpaceProjection(0),
    "steps as text": lambda o, s, f: LevelSetAscent("3"),
    "a switch as text": lambda o, s, f: RandomTeleport("yes"),
    "half a trial": lambda o, s, f: DiscreteSearch(2.5),
    "a negative size": lambda o, s, f: QuadraticForm(-1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_a_sentence(mistake):
    model, optimizer, symmetries, loss = ready()
    before = state(model)
    with pytest.raises(ValueError, match=r"^[A-Za-z_.]+:? .*; got .*; .*\.$"):
        MISTAKES[mistake](optimizer, symmetries, loss)
    assert same(state(model), before)
