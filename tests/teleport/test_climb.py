"""The ascent that solvers share, on functions of one number."""

from math import inf

import pytest
import torch

from isoloss.teleport._climb import climb
from isoloss.teleport._noise import Noise


def run(f, start=0.0, *, forbidden=lambda x: False, **options):
    """Climb a function of one number, whose slope autograd gives; returns the end and the points evaluated."""
    seen = []

    def at(x):
        seen.append(x)
        leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = f(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0].item()

    def move(x, slope, multiple):
        new = x + multiple * slope
        return None if forbidden(new) else new

    settings = {"steps": 10, "radius": 1.0, "rate": None, "lower": False, "noise": Noise(1e-8)}
    return climb(start, at, move, abs, **{**settings, **options}), seen


def test_without_a_rate_every_step_has_the_same_length():
    end, seen = run(lambda x: x.exp(), steps=4)
    assert seen == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert (end.state, end.length, end.moved) == (pytest.approx(1.0), pytest.approx(1.0), True)
    assert (end.before.item(), end.after.item()) == (1.0, pytest.approx(2.718281828))


def test_with_a_rate_it_is_gradient_ascent():
    end, seen = run(lambda x: 3 * x, steps=3, rate=0.01, radius=inf)
    assert seen == pytest.approx([0.0, 0.03, 0.06, 0.09])
    assert end.length == pytest.approx(0.09)


def test_the_radius_bounds_steps_of_any_rate():
    end, _ = run(lambda x: 3 * x, rate=10.0, radius=0.5)
    assert end.state == pytest.approx(0.5) and end.length == pytest.approx(0.5)


@pytest.mark.parametrize("lower", [False, True])
def test_it_finds_an_end_inside_by_halving(lower):
    sign = 1 if lower else -1
    end, seen = run(lambda x: sign * (x - 0.3) ** 2 + 1, steps=20, rate=1.5, lower=lower)
    assert end.state == pytest.approx(0.3, abs=1e-4)
    assert len(seen) <= 21


def test_steps_that_cannot_be_made_are_halved():
    end, seen = run(lambda x: x, steps=6, radius=1.0, rate=1.0, forbidden=lambda x: x > 0.3)
    assert 0.2 < end.state <= 0.3 and max(seen) <= 0.3


@pytest.mark.parametrize(
    "f",
    [lambda x: 1.0 + 1e-10 * x, lambda x: 1.0 + 0.0 * x, lambda x: x * torch.nan, lambda x: 1.0 - x.abs()],
    ids=["rounding", "constant", "nan", "at the top"],
)
def test_where_nothing_is_to_be_gained_the_start_is_the_end(f):
    end, _ = run(f)
    assert (end.state, end.length, end.moved) == (0.0, 0.0, False)
    assert torch.equal(end.before, end.after) or end.before.isnan()


def test_a_gain_below_the_absolute_noise_is_none():
    assert not run(lambda x: 1e-3 * x, noise=Noise(0.0, 2e-3))[0].moved
    assert run(lambda x: 1e-3 * x, noise=Noise(0.0, 5e-4))[0].moved


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_values_that_are_not_finite_are_no_gain(value):
    end, _ = run(lambda x: x if x <= 0.5 else x * value, steps=8, rate=0.4)
    assert 0.3 < end.state <= 0.5


def test_a_radius_of_zero_evaluates_once():
    end, seen = run(lambda x: x, radius=0.0)
    assert seen == [0.0] and not end.moved


def test_a_length_is_needed():
    with pytest.raises(
        ValueError, match="must have a length; got radius inf and no rate; give one of the two"
    ):
        run(lambda x: x, radius=inf)
