"""Curves along exact symmetries: derivatives against forward differentiation, and that they keep the outputs."""

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from isoloss.groups import Affine, Orthogonal
from isoloss.symmetry import Block, Operand, Shift, Slot, Symmetry
from isoloss.teleport.curves import OrbitCurve, curvature, curvature_rate, random_curves, taylor
from networks import (
    Attention,
    ConvNet,
    Rotary,
    attention_symmetries,
    conv_symmetries,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    rotary_symmetries,
)

# Three nested derivatives in float64, each a few hundred roundings.
CLOSE = {"rtol": 1e-8, "atol": 1e-8}
ZERO = torch.zeros((), dtype=torch.float64)


def translation():
    """A bias that moves through the next weight, which the same group does not touch."""
    shift = Shift("2.bias", Block.whole((3,)), "i->j", ())
    through = Shift("0.bias", Block.whole((4,)), "i,ji->j", (Operand("0.weight", Block.whole((4, 3))),), -1)
    from isoloss.groups import Translation

    return Symmetry(Translation(3), (shift, through), (), "translation")


def networks():
    for name, make, find in (
        ("mlp", lambda: mlp(5, 8, 7, 3), mlp_symmetries),
        ("linear", lambda: mlp(5, 4, 6, 3, activation=nn.Identity), linear_symmetries),
        ("conv", ConvNet, conv_symmetries),
        ("attention", Attention, attention_symmetries),
        ("rotary", Rotary, rotary_symmetries),
    ):
        model = make().double()
        for i in range(len(find(model))):
            yield pytest.param(make, find, i, id=f"{name} {i}")


@pytest.mark.parametrize(("make", "find", "i"), list(networks()))
def test_derivatives_are_those_of_forward_differentiation(make, find, i):
    model = make().double()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    (curve,) = random_curves([find(model)[i]])
    by_autograd = taylor(lambda t: _at(curve, t, tensors), ZERO, 3)
    for closed, auto in zip(curve.derivatives(tensors, 3), by_autograd, strict=True):
        assert_close(closed, auto, **CLOSE)
    assert_close(curve.at(0.0, tensors), {n: tensors[n] for n in curve.symmetry.parameters})


def _at(curve, t, tensors):
    """The curve with the contragredient as exp(-t a^T): torch differentiates nested forward solves wrongly."""
    s, moved = curve.symmetry, dict(tensors)
    for slot in s.slots:
        sign = 1 if slot.charge > 0 else -1
        one = Symmetry(s.group, (Slot(slot.parameter, slot.block, slot.dims, Fraction(1)),), s.batch)
        charge = abs(slot.charge)
        a = float(charge) * (curve.algebra if sign > 0 else -_transposed(s, curve.algebra))
        moved |= one.act(s.group.exp(t * a), moved)
    return {n: moved[n] for n in s.parameters}


def _transposed(symmetry, a):
    if len(symmetry.group.algebra_shape) == 1:
        return a
    if symmetry.group.algebra_shape[-1] == 2:  # complex numbers: the transpose is the conjugate
        return a * a.new_tensor([1.0, -1.0])
    return a.mT


def test_actions_that_are_not_linear_are_differentiated_along_themselves():
    """A rotation through a norm's weight that the rotation does not move, and shifts, which go straight."""
    tensors = {"0.weight": torch.randn(4, 3), "0.bias": torch.randn(4), "2.bias": torch.randn(3)}
    tensors = {n: t.double() for n, t in tensors.items()}
    straight = OrbitCurve(translation(), torch.randn(3, dtype=torch.float64))
    first, second, third = straight.derivatives(tensors, 3)
    assert first["2.bias"].abs().max() > 0
    assert all((x == 0).all() for d in (second, third) for x in d.values())
    assert curvature(first, second) == 0.0

    whole = Block.whole((4, 3))
    affine = Symmetry(Affine(4), (Slot("0.weight", whole, (0,)),))
    curve = OrbitCurve(affine, 0.3 * torch.randn(4, 5, dtype=torch.float64))
    by_autograd = taylor(lambda t: curve.at(t, tensors), ZERO, 3)
    assert_close(curve.derivatives(tensors, 3), list(map(dict, by_autograd)), **CLOSE)


def test_a_rotation_of_one_vector_is_a_circle():
    """Radius r, curvature 1 / r, everywhere: the exact case."""
    symmetry = Symmetry(Orthogonal(2), (Slot("w", Block.whole((2, 1)), (0,)),))
    tensors = {"w": torch.tensor([[3.0], [4.0]], dtype=torch.float64)}
    curve = OrbitCurve(symmetry, torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=torch.float64))
    derivatives = curve.derivatives(tensors, 3)
    assert_close(curvature(*derivatives[:2]), torch.tensor(0.2, dtype=torch.float64), rtol=1e-15, atol=0.0)
    assert_close(curvature_rate(*derivatives), ZERO, rtol=0.0, atol=1e-15)


def test_an_ellipse_and_a_hyperbola_have_the_curvature_of_the_textbooks():
    """The orbit (e^t u, e^-t v) of a scaling at u = v = 1: 2 |uv| / (u^2 + v^2)^(3/2) = 1 / sqrt 2, and stationary."""
    from isoloss.groups import PositiveScaling

    one = Block.whole((1,))
    symmetry = Symmetry(PositiveScaling(1), (Slot("u", one, (0,)), Slot("v", one, (0,), Fraction(-1))))
    curve = OrbitCurve(symmetry, torch.ones(1, dtype=torch.float64))
    for u, v in ((1.0, 1.0), (2.0, 0.5)):
        tensors = {"u": torch.tensor([u]).double(), "v": torch.tensor([v]).double()}
        derivatives = curve.derivatives(tensors, 3)
        expected = 2 * u * v / (u**2 + v**2) ** 1.5
        assert curvature(*derivatives[:2]).item() == pytest.approx(expected, rel=1e-14)
        rate = -3 * expected * (u**2 - v**2) / (u**2 + v**2)
        assert curvature_rate(*derivatives).item() == pytest.approx(rate, rel=1e-13, abs=1e-14)


def test_random_curves_lie_on_the_level_set():
    model = mlp(5, 8, 7, 3).double()
    x = torch.randn(9, 5, dtype=torch.float64)
    symmetries = isoloss.find(model, x)
    curves = random_curves(symmetries, 2, torch.Generator().manual_seed(0))
    assert len(curves) == 2 * sum(s.dim > 0 for s in symmetries)
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    for curve in curves:
        there = torch.func.functional_call(model, tensors | curve.at(5.0, tensors), (x,))
        assert_close(there, model(x).detach(), rtol=1e-12, atol=1e-12)
        assert any(not torch.equal(v, tensors[n]) for n, v in curve.at(5.0, tensors).items())
    again = random_curves(symmetries, 2, torch.Generator().manual_seed(0))
    assert all(torch.equal(a.algebra, b.algebra) for a, b in zip(curves, again, strict=True))


@pytest.mark.parametrize("count", [0, 1.5, True])
def test_there_must_be_a_number_of_curves(count):
    with pytest.raises(ValueError, match="random_curves: count must be a whole number of at least 1; got "):
        random_curves([], count)
