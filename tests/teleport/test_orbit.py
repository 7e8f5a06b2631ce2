"""Objectives on the orbit: carried along or evaluated, the same values and the same slopes."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss import find
from isoloss.groups import GeneralLinear
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport import Balance, Custom, GradientNorm, Point
from isoloss.teleport._noise import rounding
from isoloss.teleport._orbit import Evaluated, Transported, orbit
from isoloss.teleport._scalings import Scalings
from networks import Attention, mlp
from teleport.solvers.solving import point_of


def usable(model, x):
    return [s for s in find(model, x) if s.dim and "translation" not in s.family]


def cases():
    torch.manual_seed(0)
    model, x = mlp(5, 6, 7, 3).double(), torch.randn(9, 5).double()
    yield "mlp", usable(model, x), point_of(model, x, torch.randn(9, 3).double())
    model, x = Attention().double(), torch.randn(2, 5, 12).double()
    yield "attention", usable(model, x), point_of(model, x, torch.randn(2, 5, 12).double())
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x = torch.randn(9, 5).double()
    yield "mixed", usable(model, x), point_of(model, x, torch.randn(9, 3).double())


CASES = {name: rest for name, *rest in cases()}
every_case = pytest.mark.parametrize("name", CASES)


def landscapes(objective, symmetries, point):
    scalings = Scalings(
        symmetries, {n: tuple(t.shape) for n, t in point.tensors.items()}, dtype=torch.float64
    )
    paid = Custom(objective.evaluate, lower=objective.lower)
    return orbit(objective, symmetries, scalings, point), orbit(paid, symmetries, scalings, point)


def elements(symmetries, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [s.sample(0.3, generator, dtype=torch.float64) for s in symmetries]


@pytest.mark.parametrize("objective", [GradientNorm(), Balance()], ids=lambda o: o.name)
@every_case
def test_carried_and_evaluated_agree_anywhere_on_the_orbit(name, objective):
    symmetries, point = CASES[name]
    free, paid = landscapes(objective, symmetries, point)
    assert isinstance(free, Transported) and isinstance(paid, Evaluated)
    for g in ([None] * len(symmetries), elements(symmetries)):
        assert_close(free.value(g), paid.value(g), rtol=1e-11, atol=0.0)
        (one, slopes), (two, others) = free.slopes(g), paid.slopes(g)
        assert_close(one, two, rtol=1e-11, atol=0.0)
        assert_close(slopes, others, rtol=1e-9, atol=1e-11)


@every_case
def test_slopes_are_derivatives_along_the_last_of_the_elements(name):
    """d/dt of the value at exp(t a) g, by central differences: errors of h^2 and eps / h."""
    symmetries, point = CASES[name]
    free, _ = landscapes(GradientNorm(), symmetries, point)
    g = elements(symmetries)
    _, slopes = free.slopes(g)
    for i, (s, slope) in enumerate(zip(symmetries, slopes, strict=True)):
        a = s.group.project(torch.randn(*s.batch, *s.group.algebra_shape).double())
        h = 1e-5

        def along(t, i=i, s=s, a=a):
            return free.value([*g[:i], s.group.compose(s.group.exp(t * a), g[i]), *g[i + 1 :]])

        numeric = (along(h) - along(-h)) / (2 * h)
        assert_close((slope * a).sum(), numeric, rtol=1e-5, atol=1e-6)


def test_a_weight_between_two_moved_axes_is_followed():
    """A conjugation g W g^-1, which no closed form covers: W and b W^T are moved from both sides."""
    block = Block.whole((4, 4))
    symmetry = Symmetry(GeneralLinear(4), (Slot("w", block, (0,)), Slot("w", block, (1,), Fraction(-1))))
    w = torch.randn(4, 4).double()
    point = Point({"w": w}, {"w": torch.randn(4, 4).double()}, {"w": 0.1})
    free, _ = landscapes(GradientNorm(), [symmetry], point)
    g = elements([symmetry])
    back = torch.linalg.inv(g[0])
    # dL/dW' for W' = g W g^-1 is g^-T dL/dW g^T.
    assert_close(free.value(g), (back.T @ point.gradients["w"] @ g[0].T).square().sum(), rtol=1e-11, atol=0.0)


def test_actions_that_are_not_linear_need_the_loss():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.two = nn.Linear(5, 4), nn.RMSNorm(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.two(self.norm(self.one(x)))

    model, x = Net().double(), torch.randn(9, 5).double()
    with torch.no_grad():
        model.norm.weight.normal_()
    symmetries, point = usable(model, x), point_of(model, x, torch.randn(9, 3).double())
    assert any(not s.linear for s in symmetries)
    free, _ = landscapes(GradientNorm(), symmetries, point)
    assert isinstance(free, Evaluated) and len(free.members) == len(symmetries)
    blind, _ = landscapes(GradientNorm(), symmetries, replace(point, loss=None))
    assert isinstance(blind, Transported)
    assert [symmetries[i].linear for i in blind.members] == [True] * len(blind.members)
    balance, _ = landscapes(Balance(), symmetries, point)
    assert isinstance(balance, Transported) and len(balance.members) == len(symmetries)
    g = elements(symmetries)
    assert_close(balance.value(g), landscapes(Balance(), symmetries, point)[1].value(g), rtol=1e-12, atol=0.0)


def test_noise_is_that_of_the_narrowest_parameter():
    point = Point({"a": torch.zeros(2), "b": torch.zeros(2).double()}, {}, {})
    assert rounding(point) == torch.finfo(torch.float32).eps ** 0.5
