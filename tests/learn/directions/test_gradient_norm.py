"""Uphill in the gradient."""

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn.directions import GradientNorm
from learn.directions.points import POINTS, coordinates


def squared(tensors):
    return torch.cat([t.flatten() for t in tensors.values()]).square().sum()


@pytest.mark.parametrize("point", POINTS)
def test_slope_is_that_of_finite_differences(point):
    p = POINTS[point]()
    want = coordinates(p, lambda w: squared(grad(p.loss)(w)))
    # Differences are good to h^2 times a third derivative, and to rounding over h: five digits.
    assert_close(p.propose(GradientNorm()), want / p.action.group.norm(want), rtol=0, atol=1e-5)


@pytest.mark.parametrize("point", POINTS)
def test_gradient_grows_and_the_loss_stays(point):
    p = POINTS[point]()
    moved = p.moved(1e-4 * p.propose(GradientNorm()))
    before, after = (squared(grad(p.loss)(w)) for w in (p.parameters, moved))
    assert after > before
    # Rounding, through activations of condition below 1e4.
    assert_close(p.loss(moved), p.loss(p.parameters), rtol=1e-9, atol=0)
