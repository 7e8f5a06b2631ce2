"""The predicted decrease against a dense Hessian, against the step itself, and on a quadratic, where it is exact."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.testing import assert_close

from isoloss.teleport import Loss, Point, PredictedDecrease
from isoloss.teleport._derivatives import gradients_and_hvp, inner
from landscapes import landscape
from networks import mlp_symmetries


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


@pytest.mark.parametrize("rates", ["one rate", "several rates"])
def test_it_is_the_expansion_with_a_dense_hessian(rates):
    _, _, point = landscape(activation=nn.Tanh, widths=(4, 3, 2))
    if rates == "several rates":
        point = replace(point, rates={n: 0.05 * (i + 1) for i, n in enumerate(point.rates)})
    names = list(point.rates)
    shapes = {n: t.shape for n, t in point.parameters.items()}

    def loss(w):
        parts = w.split([s.numel() for s in shapes.values()])
        return point.loss({n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)})

    w = flat(point.parameters)
    g, h = torch.func.grad(loss)(w), _hessian(loss, w)
    step = flat({n: torch.full(shapes[n], point.rates[n], dtype=torch.float64) for n in names}) * g
    expected = g @ step - 0.5 * step @ h @ step
    assert_close(PredictedDecrease().evaluate(point, {}), expected, rtol=1e-11, atol=0.0)
    assert (0.5 * step @ h @ step).abs() > 1e-6


def _hessian(f, x):
    """In reverse twice: the backward of mse_loss has no forward rule."""
    return torch.func.jacrev(torch.func.jacrev(f))(x)


@pytest.mark.parametrize(
    "options",
    [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "dampening": 0.3}, {}],
)
@pytest.mark.parametrize("steps", [0, 3])
def test_it_predicts_the_next_step_of_sgd(options, steps):
    """To third order: with a tenth of the rate the error is a thousandth."""
    errors = []
    for rate in (1e-2, 1e-3):
        torch.manual_seed(0)
        model, optimizer, point = landscape(SGD, activation=nn.Tanh, steps=steps, **options)
        for group in optimizer.param_groups:
            group["lr"] = rate
        point = replace(point, rates=dict.fromkeys(point.rates, rate))
        predicted = PredictedDecrease(momentum=True).evaluate(point, {}).item()
        before = point.loss({}).item()
        optimizer.step()
        decrease = before - point.loss({}).item()
        assert predicted == pytest.approx(decrease, rel=1e-2)
        errors.append(abs(predicted - decrease))
    assert errors[1] < 5e-3 * errors[0]


def test_on_the_orbit_it_is_known_from_products_with_the_hessian_here():
    """H(g w) = g^-T H g^-1 and g^-T for the gradient (Prop. 4.5.1): one product at w for every element g."""
    model, _, point = landscape()
    symmetries = mlp_symmetries(model)
    elements = [(0.3 * torch.randn(s.group.n).double()).exp() for s in symmetries]
    moved = point.parameters | symmetries.act(elements, point.tensors)
    gradient, hvp = gradients_and_hvp(point.loss, point.parameters, list(point.rates))
    there = gradient | symmetries.transport(elements, gradient, point.tensors)
    step = {n: point.rates[n] * g for n, g in there.items()}
    back = step | symmetries.act([1 / g for g in elements], step)
    expected = inner(there, step) - 0.5 * inner(back, hvp(back))
    assert_close(PredictedDecrease().evaluate(point, moved), expected, rtol=1e-11, atol=0.0)
    assert abs(expected - PredictedDecrease().evaluate(point, {})) > 1e-3 * abs(expected)


def test_on_a_quadratic_it_is_exact():
    """Integers do not round: L = (w . D w) / 2 with D = diag(1, 2, 4), rate 1 / 2."""
    d = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    model = nn.ParameterDict({"w": nn.Parameter(torch.tensor([2.0, -4.0, 8.0], dtype=torch.float64))})
    loss = Loss(lambda: 0.5 * (d * model["w"] ** 2).sum(), model)
    w = model["w"].detach()
    point = Point({"w": w}, {}, {"w": 0.5}, loss)
    exact = loss({"w": w}) - loss({"w": w - 0.5 * d * w})
    assert torch.equal(PredictedDecrease().evaluate(point, {}), exact)


def test_without_momentum_the_buffer_does_not_count():
    _, _, point = landscape(SGD, momentum=0.9, steps=3)
    plain = PredictedDecrease().evaluate(point, {})
    assert torch.equal(plain, PredictedDecrease().evaluate(replace(point, state={}), {}))
    assert not torch.isclose(plain, PredictedDecrease(momentum=True).evaluate(point, {}))


def test_it_does_not_write_what_it_is_given():
    _, _, point = landscape(SGD, momentum=0.9, steps=2)
    before = copy.deepcopy([point.gradients, dict(point.state["0.weight"])])
    PredictedDecrease(momentum=True).evaluate(point, {})
    assert_close([point.gradients, dict(point.state["0.weight"])], before, rtol=0.0, atol=0.0)
