"""The rotation to the largest gradient."""

from math import pi

import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn.directions import DIRECTIONS, Crest
from learn.directions.points import POINTS


def height(p, w):
    return sum(t.square().sum() for t in grad(p.loss)(w).values())


def test_on_an_ellipse_it_leads_to_the_largest_gradient_of_the_level_set():
    """A wave of frequency 2 has its crest at the short axis, where the gradient is 2 sigma_1 sqrt(L)."""
    for _ in range(20):
        p = POINTS["rotation"]()
        top = 4 * torch.linalg.matrix_norm(p.data["matrix"], 2).square() * p.loss(p.parameters)
        # Second derivatives through matrices of condition below 1e4; at a crest errors count by their square.
        assert_close(height(p, p.moved(p.propose(Crest()))), top, rtol=1e-9, atol=0)


def test_it_is_at_most_a_quarter_turn_along_the_slope():
    for _ in range(20):
        p = POINTS["rotation"]()
        a, u = p.propose(Crest()), p.propose(DIRECTIONS["gradient-norm"]())
        t = (a * u).sum() / (u * u).sum()
        assert 0 <= t <= pi / 2
        assert_close(a, t * u, rtol=0, atol=1e-15)


def test_from_the_short_axis_it_leads_nowhere():
    p = POINTS["rotation"]()
    there = p.moved(p.propose(Crest()))
    p.parameters = there
    # The angle is that of a slope that vanishes to eps times the condition, relative to the curvature.
    assert p.action.group.norm(p.propose(Crest())) < 1e-7
