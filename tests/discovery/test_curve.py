"""Curves of equal length."""

import math

import torch
from torch.testing import assert_close

from isoloss.discovery._curve import SUBSTEPS, flow_curve, map_curve

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)


def start():
    angle = torch.linspace(0, 2, 3, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1)


def circle(length, points):
    angle = (
        torch.linspace(0, 2, 3, dtype=torch.float64) + length * torch.linspace(0, 1, points).double()[:, None]
    )
    return torch.stack([angle.cos(), angle.sin()], -1)


def test_a_flow_is_followed_to_fourth_order():
    """Runge-Kutta: the error after length 1 is about step^4 / 120, and 16 times smaller at half the step."""
    errors = []
    for points in (5, 9):
        found = flow_curve(lambda t: 7.0 * t @ TURN.mT, start(), 1.0, points)  # the speed does not matter
        errors.append(float((found - circle(1.0, points)).norm(dim=-1).max()))
        assert found.shape == (points, 3, 2) and torch.equal(found[0], start())
    assert errors[0] < (1 / (4 * SUBSTEPS)) ** 4 / 120 * 2
    assert 12 < errors[0] / errors[1] < 20


def test_a_curve_without_velocity_stays():
    found = flow_curve(torch.zeros_like, start(), 1.0, 3)
    assert torch.equal(found, start().expand(3, 3, 2))


def test_a_family_of_maps_is_followed_for_a_length():
    """Chords of the finest steps in the place of arcs: an error of step^2 / 24 for the length, step^2 / 8 aside."""
    found = map_curve(lambda t: start() @ torch.linalg.matrix_exp(t * TURN).mT, start(), 1.5, 7, finest=400)
    assert_close(found, circle(1.5, 7), rtol=0, atol=(4 / 400) ** 2 / 4)


def test_a_family_that_ends_early_ends_there():
    found = map_curve(lambda t: start() * (1 + min(t, 1.0)), start(), 5.0, 6)
    assert_close(found[1], start() * 2, rtol=1e-12, atol=0)
    assert_close(found[-1], start() * 2, rtol=1e-12, atol=0)


def test_a_jump_at_time_zero_counts():
    found = map_curve(lambda t: start() * (1.5 + t), start(), 1.0, 3)
    assert_close(found, start() * torch.tensor([1.0, 1.5, 2.0]).double()[:, None, None], rtol=1e-12, atol=0)
    assert math.isclose(float((found[1] - found[0]).norm(dim=1).mean()), 0.5, rel_tol=1e-12)
