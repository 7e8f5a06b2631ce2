"""Figures 4.3 and 4.4: what rerunning the published code gives, and the controls that the papers do not show."""

from math import pi

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.problems import BOOTH, ROSENBROCK, Ascent, SteepestRotation, rotation, squared_gradient


@pytest.fixture(scope="module")
def rosenbrock():
    return ROSENBROCK.teleported(100)


@pytest.fixture(scope="module")
def booth():
    return BOOTH.teleported(100)


def test_rosenbrock_ends_where_the_published_code_does(rosenbrock):
    """Median 5e-8, worst 0.010, over 100 seeds; 0.11 without teleports.

    The runs are chaotic in rounding: the median of 100 varies from 1.5e-8 to 6e-8 with the seed, so a decade both ways.
    """
    assert_close(ROSENBROCK.plain().losses[-2], torch.tensor(0.1115, dtype=torch.float64), rtol=1e-3, atol=0)
    assert 5e-9 < rosenbrock.losses[-2].median() < 5e-7
    assert rosenbrock.losses[-2].max() < 0.1
    assert rosenbrock.losses.median(1).values[400] < 1e-2 < rosenbrock.losses.median(1).values[250]


def test_booth_ends_where_the_published_code_does(booth):
    """0.0049 against 3.12; here the ascent converges, so that the seeds agree."""
    assert_close(BOOTH.plain().losses[-2], torch.tensor(3.12, dtype=torch.float64), rtol=0, atol=0.005)
    assert_close(booth.losses[-2].median(), torch.tensor(0.0049, dtype=torch.float64), rtol=0, atol=5e-5)
    assert booth.losses[-2].max() < 0.005


def test_the_gradients_grow_as_reported(rosenbrock, booth):
    """By 32 and by 2.9: norms, median over seeds and jumps."""
    assert 16 < rosenbrock.gains.median().sqrt() < 64
    assert_close(booth.gains.median().sqrt(), torch.tensor(2.9, dtype=torch.float64), rtol=0, atol=0.05)


def test_no_jump_changes_the_loss(rosenbrock, booth):
    for run, problem in ((rosenbrock, ROSENBROCK.problem), (booth, BOOTH.problem)):
        landed = run.points[list(run.jumps)]
        before = problem(run.departures)
        # A point is known to eps of the terms it is made of, the value to the gradient times that.
        size = 1 + landed.norm(dim=-1) ** 2 + run.departures.norm(dim=-1) ** 2
        bound = (
            64
            * torch.finfo(torch.float64).eps
            * (size * run.squared_gradients[list(run.jumps)].sqrt() + before)
        )
        assert ((run.changes * before).abs() <= bound).all()


def test_on_rosenbrock_most_of_the_gain_is_that_of_a_random_rotation(rosenbrock):
    """Control: no ascent at all. Five decades of the improvement remain; the ascent adds one to two."""
    random = ROSENBROCK.teleported(100, teleport=Ascent(0, start=(0.0, 2 * pi))).losses[-2].median()
    plain = ROSENBROCK.plain().losses[-2]
    assert random < 1e-4 * plain
    assert rosenbrock.losses[-2].median() < random / 5


def test_on_rosenbrock_the_first_step_of_the_ascent_turns_through_many_circles():
    """Why: rate 0.1 on slopes of a thousand per radian, some twenty turns.."""
    problem, where = ROSENBROCK.problem, ROSENBROCK.plain().points[99].expand(100, 2)
    angles = pi * torch.rand(100, dtype=torch.float64)
    slopes = grad(lambda a: squared_gradient(problem, problem.act(rotation(a), where)).sum())(angles)
    assert (0.1 * slopes).abs().median() > 10 * 2 * pi
    calm = BOOTH.problem, BOOTH.plain().points[4].expand(100, 2)
    slopes = grad(lambda a: squared_gradient(calm[0], calm[0].act(rotation(a), calm[1])).sum())(angles)
    assert (1e-3 * slopes).abs().max() < pi


def test_on_booth_the_gain_is_the_ascents(booth):
    """Control: a random rotation ends a hundred times higher."""
    random = BOOTH.teleported(100, teleport=Ascent(0, start=(0.0, 2 * pi))).losses[-2].median()
    assert random > 50 * booth.losses[-2].median()
    best = BOOTH.teleported(1, teleport=SteepestRotation()).losses[-2]
    assert_close(best[0], booth.losses[-2].median(), rtol=1e-2, atol=0)


def test_with_the_true_maximum_rosenbrock_is_solved():
    assert ROSENBROCK.teleported(1, teleport=SteepestRotation()).losses[-2] < 1e-20


def test_a_seed_gives_the_runs():
    assert_close(BOOTH.teleported(3, seed=1).points, BOOTH.teleported(3, seed=1).points, rtol=0, atol=0)
    assert (BOOTH.teleported(3, seed=1).points != BOOTH.teleported(3, seed=2).points).any()
    assert BOOTH.teleported(3, dtype=torch.float32).losses.dtype == torch.float32


def test_each_at_its_own_best_rate():
    """The fair comparison: eight rates each. Best plain 0.02 and 1.8, best teleported 1e-8 and 3e-6."""
    rates = {
        ROSENBROCK: torch.tensor([0.25, 0.5, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5], dtype=torch.float64) * 1e-3,
        BOOTH: torch.tensor([4.0, 5.0, 6.0, 6.5, 7.0, 8.0, 9.0, 9.5], dtype=torch.float64) * 1e-2,
    }
    for setting, plain_best, teleported_best in ((ROSENBROCK, 0.0194, 1e-6), (BOOTH, 1.77, 1e-5)):
        plain = setting.plain(lr=rates[setting]).losses[-2]
        teleported = setting.teleported(40, lr=rates[setting]).losses[-2]
        assert plain.shape == (8,) and teleported.shape == (8, 40)
        assert_close(plain.min(), plain.new_tensor(plain_best), rtol=1e-2, atol=0)
        # Runs that diverge count as infinite.
        assert teleported.nan_to_num(torch.inf).median(1).values.min() < teleported_best


def test_a_sweep_contains_the_published_rate():
    rates = torch.tensor([0.04, 0.08], dtype=torch.float64)
    assert_close(BOOTH.plain(lr=rates).points[:, 1], BOOTH.plain().points)
    assert_close(BOOTH.teleported(3, lr=0.08).points, BOOTH.teleported(3).points, rtol=0, atol=0)
