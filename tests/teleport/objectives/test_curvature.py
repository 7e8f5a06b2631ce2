"""The mean curvature of curves: Eq. (5.2) written out, and its gradient along the group (Algorithm 2)."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from isoloss.teleport import Curvature
from isoloss.teleport.curves import TaylorCurve, curvature, random_curves, taylor
from landscapes import landscape
from networks import (
    Attention,
    Rotary,
    attention_symmetries,
    linear_symmetries,
    mlp,
    mlp_symmetries,
    rotary_symmetries,
)
from pairs import CURVES, explicit, pair

ZERO = torch.zeros((), dtype=torch.float64)


def test_it_is_the_mean_over_the_curves():
    model, _, point = landscape()
    curves = random_curves(mlp_symmetries(model), 3, torch.Generator().manual_seed(0))
    found = Curvature.of(mlp_symmetries(model), 3, generator=torch.Generator().manual_seed(0)).evaluate(
        point, {}
    )
    assert len(curves) == 6
    literal = []
    for curve in curves:
        first, second = curve.derivatives(point.tensors, 2)
        a, b = (torch.cat([d[n].reshape(-1) for n in first]) for d in (first, second))
        literal.append(((a @ a) * (b @ b) - (a @ b) ** 2).sqrt() / (a @ a) ** 1.5)
    assert_close(found, torch.stack(literal).mean(), rtol=1e-10, atol=0.0)


def test_it_does_not_depend_on_the_speed():
    model, _, point = landscape()
    curves = random_curves(mlp_symmetries(model))
    faster = [replace(c, algebra=7.0 * c.algebra) for c in curves]
    assert_close(
        Curvature(curves).evaluate(point, {}), Curvature(faster).evaluate(point, {}), rtol=1e-12, atol=0.0
    )


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("samples", [4, 20])
@pytest.mark.parametrize("name", CURVES)
def test_the_gradient_along_the_group_is_that_of_nested_autograd(name, samples, which):
    """Algorithm 2 differentiates psi along T; here in closed form against psi itself made by autograd."""
    model, layers, tensors, m = pair("sinh", samples, which)
    curve, along = CURVES[name](layers, m), CURVES[name](layers, torch.randn_like(m) / 10)
    _, _, point = landscape()

    def closed(t):
        return Curvature([curve]).evaluate(_only(point, tensors), explicit(along)(t, tensors))

    def nested(t):
        there = tensors | explicit(along)(t, tensors)
        return curvature(*taylor(lambda s: explicit(curve)(s, there), ZERO, 2))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (found,), (expected,) = (torch.autograd.grad(f(t), t) for f in (closed, nested))
    # Four derivatives through pseudo-inverses of condition at most 1e3.
    assert_close(found, expected, rtol=1e-8, atol=1e-8)
    assert found.abs() > 1e-6


def _only(point, tensors):
    return replace(point, tensors=tensors, rates=dict.fromkeys(tensors, 0.1), gradients={}, loss=None)


@pytest.mark.parametrize(
    ("make", "find"),
    [
        (lambda: mlp(5, 4, 6, 3, activation=torch.nn.Identity), linear_symmetries),
        (Attention, attention_symmetries),
        (Rotary, rotary_symmetries),
    ],
    ids=["linear", "attention", "rotary"],
)
def test_it_is_differentiable_along_matrix_groups(make, find):
    """The slope of psi along every algebra element, by autograd and by finite differences."""
    model = make().double()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    symmetries = find(model)
    objective, here = Curvature.of(symmetries), _only(landscape()[2], tensors)
    for symmetry, curve in zip(symmetries, random_curves(symmetries), strict=True):

        def along(t, symmetry=symmetry, curve=curve):
            return objective.evaluate(here, symmetry.act(symmetry.group.exp(t * curve.algebra), tensors))

        t = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (found,) = torch.autograd.grad(along(t), t)
        step = 1e-5
        # Central differences: step^2, and eps / step.
        assert_close(found, (along(step) - along(-step)) / (2 * step), rtol=1e-6, atol=1e-9)
        assert_close(torch.func.grad(along)(t.detach()), found, rtol=1e-10, atol=1e-14)


def test_curves_without_a_closed_form_can_be_differentiated():
    _, layers, tensors, m = pair("tanh", 4)
    curve = CURVES["action 2"](layers, m)
    general = TaylorCurve(curve.at)
    one, other = (Curvature([c]).evaluate(_only(landscape()[2], tensors), {}) for c in (curve, general))
    assert_close(one, other, rtol=1e-8, atol=0.0)
    assert_close(general.at(0.3, tensors), curve.at(0.3, tensors))


def test_passes_count_what_depends_on_data():
    model, layers, _, m = pair("sinh")
    exact = random_curves(mlp_symmetries(model))
    assert Curvature(exact).passes == 0
    assert Curvature([*exact, *(make(layers, m) for make in CURVES.values())]).passes == 4


def test_without_a_curve_there_is_none():
    with pytest.raises(
        ValueError, match=r"Curvature: there must be a curve; got none; .*Curvature.of\(symmetries\)"
    ):
        Curvature.of([])
