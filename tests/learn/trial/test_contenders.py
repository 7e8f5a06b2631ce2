"""Who is tested, on what, and what is kept of it."""

from dataclasses import replace

import pytest
import torch

from isoloss.learn import Design, MetaOptimizer, Recipe
from isoloss.learn.tasks import DigitsPerceptron, FixedBoothTasks, LogisticRegression
from isoloss.learn.trial import Settings
from isoloss.learn.trial._contenders import POINTS, Test, kept, numbers


def a_test(**design):
    settings = Settings(FixedBoothTasks(), Design(**design), Recipe(horizon=4), test_tasks=3, test_steps=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Test.of(settings, MetaOptimizer.of(settings.design, settings.tasks))


@pytest.mark.parametrize("last", [0, 1, 5, POINTS, POINTS + 1, 1000, 10**6])
def test_kept_steps_are_few_and_include_both_ends(last):
    steps = kept(last)
    assert steps[0] == 0 and steps[-1] == last and steps == sorted(set(steps)) and len(steps) <= POINTS + 1
    assert steps[:40] == list(range(min(last + 1, 40)))


def test_numbers_that_are_none():
    assert numbers(torch.tensor([[1.0, torch.inf], [torch.nan, -2.0]])) == [[1.0, None], [None, -2.0]]


def test_without_teleports_there_is_no_ablation_of_them():
    assert "identity" in a_test().contenders() and "identity" not in a_test(variant=("update",)).contenders()


def test_ablation_of_the_local_update_is_gradient_descent_at_the_rate():
    """f(w) = |A w|^2, A = diag(0.5, 3): the gradient is 2 A^2 w."""
    test = a_test(variant=("update",))
    found = test.mean_rate({"learned": {"mean_rate": 0.01}})
    a = torch.tensor([0.5, 3.0], dtype=test.shown.parameters["w"].dtype)
    w, losses = test.shown.parameters["w"], []
    for _ in range(6):
        losses.append((a * w).square().sum(1))
        w = w - 0.01 * 2 * a.square() * w
    # Five steps of a few operations each, all of condition number near 1.
    eps = torch.finfo(a.dtype).eps
    torch.testing.assert_close(
        torch.tensor(found["losses"], dtype=a.dtype), torch.stack(losses, 1), rtol=100 * eps, atol=0
    )
    assert found["rate"] == 0.01


def test_ablation_of_the_teleports_keeps_the_start():
    test = a_test()
    learned, without = test.learned({}), test.identity({})
    assert learned["jumps"] == [0] and without["jumps"] == []
    assert [run[0] for run in learned["losses"]] == [run[0] for run in without["losses"]]
    assert learned["losses"] != without["losses"]


def test_tuning_and_unseen_tasks_differ_and_images_are_held_out():
    test = a_test()
    assert not torch.equal(test.shown.parameters["w"], test.tuning.parameters["w"])
    other = Test.of(replace(test.settings, recipe=Recipe(seed=1)), test.meta)
    assert not torch.equal(test.shown.parameters["w"], other.shown.parameters["w"])
    settings = Settings(LogisticRegression(), Design(variant=("update",)))
    assert settings.unseen.held_out and not settings.tasks.held_out  # type: ignore[union-attr]
    assert Settings(DigitsPerceptron()).steps == 1000


def test_a_test_needs_tasks_and_steps():
    with pytest.raises(ValueError, match="at least 1 test task; got 0"):
        Settings(FixedBoothTasks(), test_tasks=0)
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        Settings(FixedBoothTasks(), test_steps=0)
    with pytest.raises(ValueError, match="tele needs tasks with an action; logistic has none"):
        Settings(LogisticRegression())
