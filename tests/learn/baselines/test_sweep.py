"""The search of the best learning rate, where it is known."""

import math

import pytest
import torch

from isoloss.learn.baselines import (
    TELEPORTS,
    Adam,
    Ascent,
    GradientDescent,
    GradientDescentTeleport,
    Momentum,
    scored,
    sweep,
    tune,
)
from learn.baselines.toys import Hyperbolas, Noisy, Parabolas


@pytest.mark.parametrize("best", [3.2e-6, 1.8e-3, 1e-2, 5.7, 100.0])
def test_it_finds_a_planted_optimum(best):
    """Gradient descent on a parabola is best at one over the curvature: here on the grid, near its start and far."""
    tasks = Parabolas(curvature=1 / best)
    found = sweep(GradientDescent(), tasks, tasks.draw(3), 4)
    assert found.best == best and not found.at_edge
    assert found.rates == tuple(sorted(found.rates)) and len(found.rollouts) == len(found.scores) == len(
        found.rates
    )
    assert found.score == found.scores[found.rates.index(best)]
    assert found.baseline == GradientDescent()


def test_refinements_come_closer():
    tasks = Parabolas(curvature=1 / 0.0237)
    rough, fine = (sweep(GradientDescent(), tasks, tasks.draw(1), 4, refinements=k).best for k in (1, 4))
    # From the nearest quarter decade an eighth, a sixteenth and a thirty-second: two digits are left.
    assert abs(math.log10(fine / 0.0237)) <= 1 / 32 < abs(math.log10(rough / 0.0237))


def test_it_says_when_it_gave_up():
    tasks = Parabolas(curvature=1e-12)
    assert sweep(GradientDescent(), tasks, tasks.draw(1), 2).at_edge


def test_all_rates_see_the_same_minibatches():
    tasks = Noisy()
    draw = tasks.draw(5)
    found = sweep(GradientDescent(), tasks, draw, 3, generator=torch.Generator().manual_seed(0))
    again = sweep(GradientDescent(), tasks, draw, 3, generator=torch.Generator().manual_seed(0))
    assert found.best == again.best and found.scores == again.scores
    # After one step w = 1 - rate * c: each rate tells the curvature that was seen.
    tried = [(r, run) for r, run in zip(found.rates, found.rollouts, strict=True) if r < 0.1]
    seen = torch.stack([(1 - (run.losses[1] / 5).sqrt()) / r for r, run in tried])
    assert len(tried) > 3 and (seen - seen[0]).abs().max() < 1e-9


def test_the_score_is_the_median_of_logs_and_divergence_is_worst():
    e, inf = math.e, math.inf
    losses = torch.tensor([[e, e, e, e], [1.0, e**2, inf, e**4]], dtype=torch.float64)
    assert scored(losses) == pytest.approx(3.0)
    assert scored(losses[:, :3]) == pytest.approx(2.0)
    assert scored(losses[:, 2:3]) == inf
    assert scored(losses, "mean") == pytest.approx((1.5 + 2.5) / 2)
    assert scored(torch.zeros(2, 3, dtype=torch.float64)) < -700
    nan = torch.tensor([[e, e, e], [1.0, torch.nan, torch.nan]], dtype=torch.float64)
    assert scored(nan) == inf


def test_the_mean_prefers_what_is_early_good():
    """Momentum is best in the end at another rate than on the way."""
    tasks = Parabolas()
    draw = tasks.draw(1)
    final, mean = (sweep(Momentum(), tasks, draw, 12, score=score) for score in ("final", "mean"))
    assert final.score != mean.score
    at = {
        r: (scored(run.losses), scored(run.losses, "mean"))
        for r, run in zip(mean.rates, mean.rollouts, strict=True)
    }
    assert mean.best == min(at, key=lambda r: at[r][1])


def test_settings_are_tuned_too():
    """One step on the hyperbola: of three radii that whose best rate is best, and the best rate falls with it."""
    tasks = Hyperbolas()
    draw = tasks.draw(1)
    candidates = [GradientDescentTeleport(ascent=Ascent(radius=r)) for r in (0.1, 0.5, 1.0)]
    found = tune(candidates, tasks, draw, 1)
    scores = [sweep(c, tasks, draw, 1).score for c in candidates]
    assert found.score == min(scores) and found.baseline == candidates[scores.index(min(scores))]
    assert len(set(scores)) == 3


def test_settings_of_teleports_differ():
    assert len(set(TELEPORTS)) == len(TELEPORTS) and GradientDescentTeleport() in TELEPORTS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, "the rate must be positive; got 0.0"),
        ({"rate": float("inf")}, "the rate must be positive; got inf"),
        ({"score": "best"}, 'the score must be "final" or "mean"; got \'best\''),
    ],
)
def test_what_makes_no_sweep_is_refused(settings, message):
    tasks = Parabolas()
    with pytest.raises(ValueError, match=message):
        sweep(Adam(), tasks, tasks.draw(1), 2, **settings)


def test_nothing_to_tune_is_refused():
    tasks = Parabolas()
    with pytest.raises(ValueError, match="there must be candidates; got none"):
        tune([], tasks, tasks.draw(1), 2)
