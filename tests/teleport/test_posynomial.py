from fractions import Fraction
from itertools import product
from math import inf

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.testing import assert_close

from isoloss.groups import PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetry
from isoloss.teleport._posynomial import Posynomial
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport._scalings import Scalings
from networks import ConvNet, Rotary, conv_symmetries, mlp, mlp_symmetries, rotary_symmetries


def posynomial(name="mlp", power=1, weights=None):
    torch.manual_seed(2)
    model, find = {
        "mlp": (mlp(5, 7, 6, 3), mlp_symmetries),
        "cubes": (mlp(5, 7, 6, 3), lambda m: mlp_symmetries(m, Fraction(3))),
        "conv": (ConvNet(), conv_symmetries),
        "rotary": (Rotary(), rotary_symmetries),
    }[name]
    symmetries = list(find(model))
    tensors = {n: torch.randn_like(p, dtype=torch.float64) for n, p in model.named_parameters()}
    moving = {n for s in symmetries for n in s.parameters}
    tensors = {n: t for n, t in tensors.items() if n in moving}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    form = Quadratic(tensors, power, weights or {})
    return Posynomial(scalings, form), scalings, form, symmetries


def by_hand(scalings, form, symmetries, s):
    """Move every tensor, and sum the squares."""
    tensors = dict(form.tensors)
    for symmetry, g in zip(symmetries, scalings.elements(s), strict=True):
        move = symmetry.act if form.power > 0 else symmetry.transport
        tensors.update(move(g, tensors))
    return sum(form.weight(n) * t.square().sum() for n, t in tensors.items())


NETWORKS = ["mlp", "cubes", "conv", "rotary"]


@pytest.mark.parametrize("power", [1, -1])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_value_is_that_of_moved_tensors(name, power):
    weights = {"0.weight": 0.5, "2.weight": 3.0, "one.weight": 2.0, "k.weight": 0.1}
    f, scalings, form, symmetries = posynomial(name, power, weights)
    s = (0.5 * torch.randn(scalings.count, dtype=torch.float64)).exp()
    assert_close(f.value(s), by_hand(scalings, form, symmetries, s))
    assert_close(f.here, by_hand(scalings, form, symmetries, scalings.ones()))


def reference(scalings, form, symmetries, radius):
    """The minimum by a general method, from moved tensors alone."""

    def fun(a):
        a = torch.tensor(a, requires_grad=True)
        (slope,) = torch.autograd.grad(value := by_hand(scalings, form, symmetries, a.exp()), a)
        return value.item(), slope.numpy()

    bounds = None if radius == inf else [(-radius, radius)] * scalings.count
    found = minimize(
        fun,
        np.zeros(scalings.count),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return torch.tensor(found.x)


@pytest.mark.parametrize("radius", [inf, 0.3, 0.05])
@pytest.mark.parametrize("power", [1, -1])
@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_is_the_minimum_that_scipy_finds(name, power, radius):
    f, scalings, form, symmetries = posynomial(name, power)
    s = f.lowered(radius, sweeps=2000)
    best = reference(scalings, form, symmetries, radius)
    assert (s.log().abs() <= radius * (1 + 1e-12)).all()
    # Steps end at sqrt(eps), 1.5e-8; at a linear rate of at most 0.9 what is left of the way is ten times that,
    # and the sum, flat at its minimum, is known to the square of it.
    assert_close(f.value(s), f.value(best.exp()), rtol=1e-12, atol=0.0)
    assert_close(s.log(), best, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "cubes", "conv", "rotary"])
def test_the_sides_differ_by_the_moment(name):
    """<x, a . x> is what the squares that grow gain, less what the others lose."""
    sum_of_squares, _, form, symmetries = posynomial(name)
    grow, shrink = sum_of_squares.sides
    moments = [s.group.symmetric(s.moment(form.tensors, form.tensors)) for s in symmetries]
    moments = [m[..., 0] if s.group.own == 2 else m for s, m in zip(symmetries, moments, strict=True)]
    assert_close(grow - shrink, torch.cat([m.flatten() for m in moments]), rtol=1e-12, atol=1e-12)
    assert (grow > 0).all() and (shrink > 0).all()


def test_a_network_with_one_hidden_layer_is_balanced_in_one_sweep():
    model = mlp(5, 7, 3).double()
    symmetries = mlp_symmetries(model)
    tensors = {n: p.detach() for n, p in model.named_parameters() if n != "2.bias"}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    s = Posynomial(scalings, Quadratic(tensors, 1, {})).lowered(inf, sweeps=1)
    incoming = tensors["0.weight"].square().sum(1) + tensors["0.bias"].square()
    outgoing = tensors["2.weight"].square().sum(0)
    assert_close(s.log(), (outgoing / incoming).log() / 4)


def test_deep_and_badly_scaled_networks_are_balanced_in_few_sweeps():
    """Scales of whole layers diffuse along the depth: without extrapolation nine layers take over a hundred sweeps."""
    model = mlp(6, *[8] * 8, 4).double()
    symmetries = mlp_symmetries(model)
    symmetries.act_([(3 * torch.randn(s.group.n).double()).exp() for s in symmetries])
    tensors = {n: p.detach() for n, p in model.named_parameters() if n != "16.bias"}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    f = Posynomial(scalings, Quadratic(tensors, 1, {}))
    s = f.lowered(inf, sweeps=60)
    for symmetry, g in zip(symmetries, scalings.elements(s), strict=True):
        tensors = {**tensors, **symmetry.act(g, tensors)}
    for k in range(0, 16, 2):
        incoming = tensors[f"{k}.weight"].square().sum(1) + tensors[f"{k}.bias"].square()
        outgoing = tensors[f"{k + 2}.weight"].square().sum(0)
        # Steps end at 1.5e-8 in the log-scale, and squares double it; a few steps are what is left to go.
        assert_close(incoming, outgoing, rtol=1e-6, atol=0.0)


def test_lowering_never_rises_from_one_sweep_to_the_next():
    f, _, _, _ = posynomial("cubes", 1)
    values = [f.value(f.lowered(inf, sweeps=k)) for k in range(12)]
    assert all(b <= a * (1 + 1e-14) for a, b in zip(values, values[1:], strict=False))
    assert values[-1] < values[0]


def test_raised_is_the_best_corner_of_the_box_where_neurons_do_not_meet():
    model = mlp(4, 6, 3).double()
    symmetries = mlp_symmetries(model)
    tensors = {n: p.detach() for n, p in model.named_parameters() if n != "2.bias"}
    scalings = Scalings(symmetries, {n: tuple(t.shape) for n, t in tensors.items()}, dtype=torch.float64)
    f = Posynomial(scalings, Quadratic(tensors, -1, {}))
    corners = 0.3 * torch.tensor(list(product([-1.0, 1.0], repeat=6))).double()
    best = max(corners, key=lambda a: f.value(a.exp()).item())
    assert_close(f.raised(0.3).log(), best)


@pytest.mark.parametrize("power", [1, -1])
@pytest.mark.parametrize("name", NETWORKS)
def test_raised_is_a_corner_no_lower_than_the_tangent_at_the_start(name, power):
    f, scalings, _, _ = posynomial(name, power)
    s = f.raised(0.2)
    assert_close(s.log().abs(), torch.full_like(s, 0.2))
    grow, shrink = scalings.collect(f._sums_here, power)
    assert f.value(s) >= f.here + 0.2 * 2 * (grow - shrink).abs().sum()


def test_raising_never_falls_from_one_sweep_to_the_next():
    f, _, _, _ = posynomial("mlp", -1)
    values = [f.value(f.raised(2.0, sweeps=k)) for k in range(6)]
    assert all(b >= a * (1 - 1e-14) for a, b in zip(values, values[1:], strict=False))


def test_dead_neurons_stay_where_they_are():
    f, scalings, form, _ = posynomial("mlp", -1)
    for name in ("0.weight", "0.bias"):
        form.tensors[name][3] = 0.0
    form.tensors["2.weight"][:, 3] = 0.0
    f = Posynomial(scalings, form)
    assert f.raised(0.1)[3] == 1.0
    assert f.lowered(0.1)[3] == 1.0
    assert f.lowered(inf)[3] == 1.0


def test_nothing_runs_off_to_an_infimum_at_infinity():
    """A weight that is read by nothing could only shrink: without a radius it stays, with one it goes to its edge."""
    symmetry = Symmetry(PositiveScaling(3), (Slot("w", Block.whole((3, 2)), (0,)),))
    scalings = Scalings([symmetry], {"w": (3, 2)}, dtype=torch.float64)
    f = Posynomial(scalings, Quadratic({"w": torch.randn(3, 2).double()}, 1, {}))
    assert_close(f.lowered(inf), torch.ones(3).double(), rtol=0.0, atol=0.0)
    assert_close(f.lowered(0.5).log(), torch.full((3,), -0.5).double())


def test_parameters_without_a_gradient_do_not_count():
    f, scalings, form, symmetries = posynomial("mlp", -1)
    tensors = {n: t for n, t in form.tensors.items() if n != "2.weight"}
    partial = Quadratic(tensors, -1, {})
    s = (0.5 * torch.randn(scalings.count, dtype=torch.float64)).exp()
    assert_close(Posynomial(scalings, partial).value(s), by_hand(scalings, partial, symmetries, s))
