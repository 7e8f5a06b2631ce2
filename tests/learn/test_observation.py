"""What is seen: formulas, sizes, scales."""

from math import exp, log

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Layout
from isoloss.learn._observation import (
    COORDINATE_FEATURES,
    SUMMARY_FEATURES,
    log_scale,
    observe,
    observer_start,
)

LAYOUT = Layout((("a", (3, 2)), ("b", (4,)), ("c", ())))
EPS = torch.finfo(torch.float64).eps


def watch(gradients):
    """The observations of gradients (steps, n, P)."""
    state, told = observer_start(LAYOUT, gradients[0]), []
    for g in gradients:
        seen, state = observe(LAYOUT, torch.ones_like(g), g, state)
        told.append(seen)
    return told


def draw(steps=6, n=3):
    return torch.randn(steps, n, LAYOUT.size, dtype=torch.float64)


def test_log_scale_is_that_of_andrychowicz():
    x = torch.tensor([1.0, -1.0, exp(-5), -exp(5), 0.5 * exp(-10), 0.0], dtype=torch.float64)
    expected = [(0.0, 1.0), (0.0, -1.0), (-0.5, 1.0), (0.5, -1.0), (-1.0, 0.5), (-1.0, 0.0)]
    # exp(10) = torch's in float32: seven digits.
    assert_close(log_scale(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-15)


def test_averages_are_those_of_all_gradients_so_far():
    gradients = draw()
    for t, seen in enumerate(watch(gradients)):
        past = gradients[: t + 1]
        for found, values, decay in (
            (seen.mean, past, 0.9),
            (seen.size.square(), past.square(), 0.99),
        ):
            w = decay ** torch.arange(t, -1, -1, dtype=torch.float64)
            assert_close(
                found, torch.einsum("t,tnp->np", w / w.sum(), values), rtol=1e3 * EPS, atol=1e3 * EPS
            )
        before = gradients[max(t - 1, 0)]
        cosine = torch.cosine_similarity(gradients[t], before, dim=1) if t else torch.zeros(3).double()
        assert_close(seen.cosine, cosine, rtol=0, atol=16 * EPS)
        assert_close(seen.previous, LAYOUT.per_tensor(before), rtol=0, atol=0)
        assert_close(seen.first, LAYOUT.per_tensor(gradients[0]), rtol=0, atol=0)
        assert seen.step.tolist() == [float(t)] * 3


SIZES = (0.0, 1e-300, 1e-200, 1e-10, 1.0, 1e10, 1e200, 1e300)


def bounds(t):
    """Of every feature; a logarithm of a ratio of numbers of float64 is below 1500."""
    # Cauchy and Schwarz: |sum a g| <= sqrt(sum a^2 / b) sqrt(sum b g^2), a and b the weights of the two averages.
    k = torch.arange(t + 1, dtype=torch.float64)
    a, b = (d**k / (d**k).sum() for d in (0.9, 0.99))
    ratio = float((a**2 / b).sum().sqrt()) * (1 + 1e3 * EPS)
    largest = log(LAYOUT.size) / 10
    return (
        torch.tensor(
            [max(1.0, largest), 1.0, 1.0, ratio, 1.0, 1.0 + 16 * EPS, 1.0, 150.0, log(1 + t) / 10 + EPS]
        ),
        torch.tensor([1.0, 150.0, 1.0 + 16 * EPS, ratio, 1.0, log(1 + t) / 10 + EPS, 1.0]),
    )


@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("then", SIZES)
def test_features_are_bounded_for_gradients_of_any_size(first, then):
    gradients = draw(4)
    for t, size in enumerate((first, then, then, first)):
        gradients[t] *= size
    gradients[:, 0, :2] = 0  # dead weights
    for t, seen in enumerate(watch(gradients)):
        each, together = seen.of_coordinates(), seen.of_all()
        assert each.shape == (3, LAYOUT.size, COORDINATE_FEATURES) and together.shape == (3, SUMMARY_FEATURES)
        by_weight, altogether = bounds(t)
        assert (each.abs() <= by_weight.double() * (1 + 4 * EPS)).all()
        assert (together.abs() <= altogether.double() * (1 + 4 * EPS)).all()


@pytest.mark.parametrize("scale", [1e-290, 1e-100, 3.0, 1e100, 1e290])
def test_features_do_not_depend_on_the_scale_of_the_loss(scale):
    gradients = draw()
    for one, other in zip(watch(gradients), watch(scale * gradients), strict=True):
        # Logarithms of up to 700 carry an error of 700 eps; where a ratio is above or below exp(-10) nothing jumps.
        assert_close(other.of_coordinates(), one.of_coordinates(), rtol=0, atol=1e4 * EPS)
        assert_close(other.of_all(), one.of_all(), rtol=0, atol=1e4 * EPS)
        assert (one.of_coordinates()[..., :4].std(1) > 0.01).all(), "weights look different"


def test_float32_overflows_as_late():
    gradients = draw().float()
    for one, other in zip(watch(gradients), watch(1e30 * gradients), strict=True):
        # As above, with logarithms of up to 80.
        assert_close(other.of_coordinates(), one.of_coordinates(), rtol=0, atol=1e3 * 2**-23)


@pytest.mark.parametrize("features", ["of_coordinates", "of_all"])
def test_derivatives_are_finite_where_the_gradient_is_zero(features):
    """Backpropagation to the gradients: as second order does."""
    gradients = draw(4)
    gradients[:, 0] = 0  # a whole optimizee
    gradients[:, 1, 0] = 0  # a weight
    gradients[2, 2] = 0  # a step
    gradients[:, 1, LAYOUT.sizes[0] :] = 0  # two tensors
    gradients.requires_grad_()
    state = observer_start(LAYOUT, gradients[0].detach())
    total = torch.zeros((), dtype=torch.float64)
    for g in gradients:
        seen, state = observe(LAYOUT, g, g, state)
        total = total + getattr(seen, features)().sin().sum()
    (slopes,) = torch.autograd.grad(total, gradients)
    assert slopes.isfinite().all() and slopes[:, 1].abs().max() > 1e-3
