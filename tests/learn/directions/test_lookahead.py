"""Downhill in the loss after the next step."""

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn.directions import GradientNorm, Lookahead
from learn.directions.points import POINTS, coordinates


def after_step(p, rate):
    def ahead(w):
        down = grad(p.loss)(w)
        return p.loss({n: t - rate * down[n] for n, t in w.items()})

    return ahead


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("step", [1.0, 0.3])
def test_slope_is_that_of_finite_differences(point, step):
    p = POINTS[point]()
    rate = step * p.loss(p.parameters) / sum(t.square().sum() for t in p.gradient.values())
    want = -coordinates(p, after_step(p, rate))
    # Differences are good to h^2 times a third derivative, and to rounding over h: five digits.
    assert_close(p.propose(Lookahead(step)), want / p.action.group.norm(want), rtol=0, atol=1e-5)


@pytest.mark.parametrize("point", POINTS)
def test_next_loss_is_lower(point):
    p = POINTS[point]()
    ahead = after_step(p, 0.01)
    assert ahead(p.moved(1e-4 * p.propose(Lookahead(lr=0.01)))) < ahead(p.parameters)


@pytest.mark.parametrize("point", POINTS)
def test_small_rates_ask_for_a_large_gradient(point):
    """L(w - eta g) = L - eta |g|^2 + O(eta^2), and L is constant on the orbit."""
    p = POINTS[point]()
    assert_close(p.propose(Lookahead(lr=1e-7)), p.propose(GradientNorm()), rtol=0, atol=1e-3)
    assert (p.propose(Lookahead(lr=1e-7)) + p.propose(GradientNorm())).abs().max() > 1.0


def test_overflow_proposes_nothing():
    p = POINTS["linear"]()
    found = p.propose(Lookahead(lr=1e200))
    assert_close(found, torch.zeros_like(found), rtol=0, atol=0)
