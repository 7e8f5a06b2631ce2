"""Proposition A.4.1, step by step along real runs."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flow.running import NETS, found
from isoloss import flow
from networks import linear_symmetries, mlp


def slopes(trajectory, i: int):
    return {n: -v[i] for n, v in trajectory.velocities.items()}


@pytest.mark.parametrize("name", NETS)
def test_every_step_drifts_by_the_square_of_the_rate_times_the_quantity_of_the_gradient(name):
    """An equation: what is left is the rounding of Q, some eps of its size."""
    model, symmetries, loss = found(name)
    quantities = flow.conserved_quantities(symmetries)
    rate = 1e-2
    run = flow.gradient_descent(loss, model, rate, 20)
    along = quantities.along(run)
    for i in range(20):
        for q, drift in flow.drift_bound(quantities, slopes(run, i), rate).items():
            assert_close(along[q][i + 1] - along[q][i], drift.change, rtol=1e-9, atol=1e-13)
            # The rounding of a nuclear norm may lie above a bound that is attained.
            assert drift.size <= drift.bound * (1 + 1e-12) and drift.tightness <= 1 + 1e-12
            if q.startswith("R^"):  # translations do not drift at all
                assert drift.bound == 0.0 and drift.size == 0.0


def test_the_trace_in_two_linear_layers_obeys_the_proposition():
    """|Q_{t+1} - Q_t| <= eta^2 |dL/dt|, Eq. (A.21), with the flow's dL/dt = -|grad L|^2; not tight: about 0.4."""
    model = mlp(5, 4, 3, activation=nn.Identity, bias=False).double()
    x, y = torch.randn(8, 5).double(), torch.randn(8, 3).double()
    rate = 0.05
    run = flow.gradient_descent(lambda m: (m(x) - y).square().mean(), model, rate, 50)
    v, u = run.tensors["0.weight"], run.tensors["2.weight"]
    trace = u.square().sum((1, 2)) - v.square().sum((1, 2))
    squared = sum(g.square().sum((1, 2)) for g in run.velocities.values())[:-1]
    ratio = trace.diff().abs() / (rate**2 * squared)
    assert ratio.max() <= 1 + 1e-9 and ratio.max() > 0.01
    (quantities,) = [flow.conserved_quantities(linear_symmetries(model))]
    for i in range(50):
        (drift,) = flow.drift_bound(quantities, slopes(run, i), rate).values()
        assert drift.bound == pytest.approx(float(rate**2 * squared[i]), rel=1e-12)
        assert abs(float(trace.diff()[i])) <= drift.size * (1 + 1e-9) + 1e-15


def test_the_bound_is_attained_where_one_side_has_no_gradient():
    """A second layer of zeros: only it has a gradient, and the nuclear norm of its Gram matrix is its square."""
    model = mlp(5, 4, 3, activation=nn.Identity, bias=False).double()
    with torch.no_grad():
        model[2].weight.zero_()
    x = torch.randn(8, 5).double()
    (model(x) - 1.0).square().sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    (drift,) = flow.drift_bound(flow.conserved_quantities(linear_symmetries(model)), gradients, 0.1).values()
    assert drift.tightness == pytest.approx(1.0, rel=1e-12)


def test_the_total_drift_is_of_first_order_in_the_rate():
    """Per unit of time: halving the rate halves it, and it stays below eta c (L(0) - L(t)) to first order."""
    model, symmetries, loss = found("linear")
    quantities = flow.conserved_quantities(symmetries)
    totals = []
    for rate in (2e-4, 1e-4):
        run = flow.gradient_descent(loss, model, rate, round(0.2 / rate), every=round(0.2 / rate))
        totals.append(torch.stack([v[-1] - v[0] for v in quantities.along(run).values()]))
        fallen = float(run.losses[0] - run.losses[-1])
        nuclear = torch.linalg.matrix_norm(totals[-1], "nuc").max()
        assert 0 < nuclear < 1.1 * rate * fallen  # steps are at most a few percent of the curvature's inverse
    assert 1.9 < totals[0].norm() / totals[1].norm() < 2.1


def test_learning_rates_by_parameter():
    model, symmetries, loss = found("LeakyReLU")
    rates = {"0.weight": 3.0, "0.bias": 0.5}
    quantities = flow.conserved_quantities(symmetries, rates=rates)
    run = flow.gradient_descent(loss, model, 1e-2, 5, rates=rates)
    (values,) = quantities.along(run).values()
    for i in range(5):
        gradients = {n: -v[i] / run.rates[n] for n, v in run.velocities.items()}
        (drift,) = flow.drift_bound(quantities, gradients, 1e-2).values()
        assert_close(values[i + 1] - values[i], drift.change, rtol=1e-9, atol=1e-13)
        squared = sum(run.rates[n] * gradients[n].square().sum() for n in ("0.weight", "0.bias", "2.weight"))
        assert drift.bound == pytest.approx(float(1e-4 * squared), rel=1e-12)


def test_bad_input_is_refused_in_one_sentence():
    model, symmetries, _ = found("LeakyReLU")
    quantities = flow.conserved_quantities(symmetries)
    gradients = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    assert next(iter(flow.drift_bound(quantities, gradients, 0.1).values())).tightness == 0.0
    with pytest.raises(ValueError, match="rate must be a positive number; got 0"):
        flow.drift_bound(quantities, gradients, 0.0)
    with pytest.raises(ValueError, match=r"got \(1,\) for 0.bias of shape \(5,\)"):
        flow.drift_bound(quantities, gradients | {"0.bias": torch.ones(1)}, 0.1)
    with pytest.raises(ValueError, match="got none for 0.bias"):
        flow.drift_bound(quantities, {n: g for n, g in gradients.items() if n != "0.bias"}, 0.1)
