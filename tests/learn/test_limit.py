"""Slopes passed back are shortened one optimizee at a time."""

from math import inf

import torch
from torch.testing import assert_close

from isoloss.learn import Design, Layout, Loop, MetaOptimizer, Recipe, meta_train
from isoloss.learn._limit import limited
from isoloss.learn.tasks import BoothTasks, TwoLayerRegression


def test_rows_beyond_their_bound_are_shortened_and_others_left():
    weights = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    slopes = torch.tensor(
        [[3.0, 4, 0], [0.3, 0, 0.4], [torch.nan, 1, 1], [torch.inf, 0, 0]], dtype=torch.float64
    )
    bounds = torch.full((4,), 2.0, dtype=torch.float64)
    same = limited(weights, bounds)
    assert torch.equal(same, weights)
    same.backward(slopes)
    expected = torch.tensor([[1.2, 1.6, 0], [0.3, 0, 0.4], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    assert_close(weights.grad, expected)


def test_the_length_of_large_slopes_does_not_overflow():
    weights = torch.zeros(1, 2, requires_grad=True)
    limited(weights, torch.ones(1)).backward(torch.tensor([[3e30, 4e30]]))
    assert_close(weights.grad, torch.tensor([[0.6, 0.8]]))


def meta_gradient(limit: float, steps: int = 5) -> torch.Tensor:
    tasks = TwoLayerRegression(size=4)
    torch.manual_seed(0)
    meta = MetaOptimizer.of(Design(variant=("update",)), tasks).double()
    draw = tasks.draw(3, torch.Generator().manual_seed(0))
    loop = Loop(meta, tasks, Layout.of(draw.parameters), limit=limit)
    loop.run(loop.begin(draw.parameters), [draw.data] * steps).losses.log().mean().backward()
    slope = meta.get_parameter("parts.learned_update.log_rate").grad
    assert slope is not None
    return slope


def test_a_wide_limit_changes_nothing_and_a_narrow_one_leaves_nothing():
    assert torch.equal(meta_gradient(1e300), meta_gradient(inf))
    assert not torch.isclose(meta_gradient(1e-3), meta_gradient(inf), rtol=1e-2)
    assert meta_gradient(1e-30).abs() < 1e-25  # everything passes through the weights


def test_training_on_ellipses_of_all_conditions_is_better_with_it():
    """Few of their trajectories are chaotic, and without the limit these are most of what is learned from."""
    tasks, found = BoothTasks(), []
    for limit in (0.1, inf):
        torch.manual_seed(0)
        meta = MetaOptimizer.of(Design(variant=("update",)), tasks)
        last = meta_train(meta, tasks, Recipe(runs=8, horizon=60, validate=8, limit=limit)).history[-1]
        assert last.validation is not None
        found.append((last.validation, last.norm))
    (limited, norm), (free, large) = found
    assert limited < free - 2  # two e-folds of the mean loss; there are four
    assert norm < 10 < 1e3 < large
