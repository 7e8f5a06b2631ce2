"""Losses on batches: values, slopes along directions, and the size of their Jacobians."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.testing import assert_close

from discovery.literal import jacobians
from discovery.losses import PAIR, RELU, SCALAR, TANH, local, sampled
from isoloss.discovery import Space, normal
from isoloss.discovery._loss import PROBES, Losses
from isoloss.discovery.actions import Linear

EPS = torch.finfo(torch.float64).eps
CASES = {"scalar": SCALAR, "relu": RELU, "tanh": TANH, "pair": PAIR}


@pytest.mark.parametrize("name", CASES)
def test_values_and_slopes_are_those_of_a_loop(name):
    losses, theta, x = sampled(CASES[name])
    v = torch.randn(len(theta), 3, theta.shape[1], dtype=torch.float64)
    j = torch.stack(jacobians(local(CASES[name], Linear(theta.shape[1], x.shape[1]), v[0])))
    values = torch.stack([losses.one(t, y) for t, y in zip(theta, x, strict=True)])
    assert_close(losses(theta, x), values, rtol=100 * EPS, atol=0)
    expected = torch.einsum("ndp,nkp->nkd", j, v)
    assert_close(losses.slopes(theta, x, v), expected, rtol=0, atol=100 * EPS * float(j.norm() * v.norm()))


@pytest.mark.parametrize("name", CASES)
def test_the_size_of_a_jacobian_is_exact_for_few_data_points(name):
    case = CASES[name]
    losses, theta, x = sampled(case)
    j = torch.stack(jacobians(local(case, Linear(theta.shape[1], x.shape[1]), theta[None])))
    assert_close(losses.scale(theta, x), j.square().mean((1, 2)), rtol=100 * EPS, atol=0)


def test_the_size_of_a_jacobian_is_unbiased_for_many():
    case = TANH[0], TANH[1], normal(x=(2, PROBES + 4), y=(1, PROBES + 4))
    losses, theta, x = sampled(case)
    j = torch.stack(jacobians(local(case, Linear(theta.shape[1], x.shape[1]), theta[None])))
    exact, draws = j.square().mean((1, 2)), torch.Generator().manual_seed(0)
    drawn = torch.stack([losses.scale(theta, x, draws) for _ in range(400)])
    # Mean of 400: five standard errors, which are told by the draws themselves.
    error = drawn.std(0) / 20
    assert bool(((drawn.mean(0) - exact).abs() <= 5 * error).all())
    assert bool((error > 0).all()) and bool((error < 0.1 * exact).all())
    again = [losses.scale(theta, x, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


def test_the_size_of_a_jacobian_is_the_mean_square_slope():
    """Along unit vectors, averaged: here along an orthonormal basis."""
    losses, theta, x = sampled(SCALAR)
    basis = torch.eye(2, dtype=torch.float64).expand(len(theta), 2, 2)
    mean = losses.slopes(theta, x, basis).square().mean((1, 2))
    assert_close(losses.scale(theta, x), mean, rtol=100 * EPS, atol=0)


def test_a_module_and_class_labels():
    """The loss of a module, by functional_call; labels are whole numbers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def loss(w, data):
        return F.cross_entropy(functional_call(net, w, (data["x"],)), data["label"], reduction="none")

    params = {n: torch.randn(5, *p.shape, dtype=torch.float64) for n, p in net.named_parameters()}
    data = {"x": torch.randn(5, 2, 3, dtype=torch.float64), "label": torch.randint(3, (5, 2))}
    spaces = Space.of(params, "here"), Space.of(data, "here", whole=True)
    losses, theta, x = Losses(loss, *spaces), spaces[0].flat(params), spaces[1].flat(data)
    for i in range(5):
        own = {n: p[i] for n, p in params.items()}
        one = {n: t[i] for n, t in data.items()}
        assert_close(losses(theta, x)[i], loss(own, one), rtol=100 * EPS, atol=0)
    v = torch.randn(5, 1, theta.shape[1], dtype=torch.float64)
    step = 1e-5
    ends = [losses(theta + s * step * v[:, 0], x) for s in (1, -1)]
    # Central differences: their error is the third derivative times step^2, and eps / step.
    assert_close(losses.slopes(theta, x, v)[:, 0], (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "loss, told",
    [
        (
            lambda w, x: w,
            r"must be a number, or one for each data point, \(d,\); got \(2, 2\) of torch.float32",
        ),
        (lambda w, x: 1.0, "got float"),
        (lambda w, x: w.sum().to(torch.int64), r"got \(\) of torch.int64"),
        (lambda w, x: w.sum() * torch.ones(0), r"got \(0,\)"),
        (lambda w, x: None, "got NoneType"),
    ],
)
def test_what_is_no_loss_is_refused(loss, told):
    space = Space.of(torch.ones(2, 2, 2), "here")
    with pytest.raises(ValueError, match=told):
        Losses(loss, space, space)(torch.ones(2, 4), torch.ones(2, 4))
