"""Verdicts of the meta-optimizers on the regression follow from the numbers."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Design
from isoloss.learn.tasks import TwoLayerRegression
from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _learned as learned
from isoloss.reproduce.experiments import _learned_momentum as momentum
from isoloss.reproduce.experiments import _shared_learned_regression as shared

MARKS = [0, 1, 10, 100, 1000]
SPREAD = (0.9, 1.0, 1.2)


def entry(level, *, gain=2.0, on_bound=0.0, failure=None, without=None):
    """Runs of three seeds and two tasks that end at a level; None diverges after ten steps."""
    end = [None] * 2 if level is None else [level, level / 10]
    without = level if without is None else without

    def losses(last, factor):
        return [
            [1e5, 100.0, 50.0 * f, *(None if v is None else v * f * factor for v in last)] for f in (0.9, 1.1)
        ]

    return [
        {
            "losses": losses(end, f),
            "finite": level is not None,
            "jumps": [0],
            "gains": [gain],
            "gain": gain,
            "change": 1e-15,
            "size": 0.5,
            "rate": 1e-3,
            "on_bound": on_bound,
            "failure": failure,
            "history": [3.0, 2.0],
            "batch": 8,
            "ablations": {
                "g = 1": losses([without], f),
                "f at its mean rate": losses([2 * (without or 1.0)], f),
            },
        }
        for f in SPREAD
    ]


def results(variants, **levels):
    """All as the papers have it: the last variant is best by far."""
    made = {
        f"{kind} {v}": entry(8.0 / (i + 1) ** 2, without=9.0)
        for kind in shared.KINDS
        for i, v in enumerate(variants)
    }
    baseline = {"rate": 1e-3, "start": shared.STARTS[0], "runs": entry(16.0)}
    return {
        "horizon": 100,
        "times": 10,
        "marks": MARKS,
        "variants": list(variants),
        "learned": made | levels,
        "literal": {"failure": "no", "history": [None] * 3},
        "baselines": {"gd": baseline, "adam": baseline},
        "gd": {"rate": 3e-4, "runs": entry(18.0)},
        "bound": {"rate": 5e-3, "runs": entry(8.0)},
    }


def five(**levels):
    """Of Figure 5.12."""
    return results(("lr,tele", "update", "update,tele"), **levels)


def holds(findings, *words):
    """What the only statement with all of these words says."""
    (found,) = [f for f in findings if all(w in f.statement for w in words)]
    return found.holds


def test_everything_as_the_papers_have_it():
    assert overall(learned.judge(five())) == "reproduced"
    assert overall(momentum.judge(results(("lr,tele", "lr,tele,momentum")))) == "reproduced"


def test_nothing_as_the_papers_have_it():
    worse = {f"{kind} update,tele": entry(30.0) for kind in shared.KINDS}
    assert overall(learned.judge(five(**worse))) == "not reproduced"


def test_a_design_that_diverges_is_a_result():
    found = learned.judge(five(**{"published update,tele": entry(None, failure="gave up")}))
    assert overall(found) == "reproduced in part"
    assert holds(found, "published update,tele is lower than published update after 100 steps") is False
    assert holds(found, "published update,tele converges") is False
    assert holds(found, "ours update,tele is lower than ours update after 100 steps") is True


def test_equal_contenders_leave_it_open():
    found = learned.judge(five(**{"ours update,tele": entry(2.0), "ours update": entry(2.0)}))
    assert holds(found, "ours update,tele is lower than ours update after 100 steps") is None


@pytest.mark.parametrize(("without", "outcome"), [(9.0, True), (0.01, False)])
def test_the_ablation_decides_what_the_teleport_is_worth(without, outcome):
    found = learned.judge(five(**{"ours update,tele": entry(1.0, without=without)}))
    assert holds(found, "ours update,tele is lower than ours update,tele with g = 1") is outcome


@pytest.mark.parametrize(("gain", "outcome"), [(1.0, False), (1.5, True), (None, False)])
def test_a_gain_of_one_is_no_teleport(gain, outcome):
    found = learned.judge(five(**{"published update,tele": entry(1.0, gain=gain)}))
    assert holds(found, "teleports of published update,tele raise") is outcome


def test_a_changed_loss_is_no_teleport():
    runs = entry(1.0)
    runs[0]["change"] = 0.1
    found = learned.judge(five(**{"ours update,tele": runs}))
    assert holds(found, "teleports of ours update,tele leave the loss") is False
    assert holds(found, "teleports of published update,tele leave the loss") is True


def test_a_single_task_that_rises_is_no_convergence():
    runs = entry(1.0)
    runs[2]["losses"][1][-1] = runs[2]["losses"][1][-2] * 1.01
    found = learned.judge(five(**{"ours update": runs}))
    assert holds(found, "ours update converges") is False
    assert holds(found, "ours update,tele converges") is True


@pytest.mark.parametrize(("share", "outcome"), [(0.0, True), (0.99, False)])
def test_a_learning_rate_on_its_bound(share, outcome):
    found = learned.judge(five(**{"published lr,tele": entry(8.0, on_bound=share)}))
    assert holds(found, "learning rate", "below its bound") is outcome
    assert holds(found, "published lr,tele is lower than GD at 0.005") is None


def test_what_nothing_bounds_and_what_can_be_trained():
    told = five()
    assert holds(learned.judge(told), "no bound on the elements") is False
    told["literal"] = {"failure": None, "history": [3.0]}
    assert holds(learned.judge(told), "no bound on the elements") is True


@pytest.mark.parametrize(
    ("variant", "runs"), [(("update",), 600), (("update", "tele"), 700), (("lr", "tele", "momentum"), 30)]
)
def test_budgets_are_those_of_the_papers_and_ours_are_equal(variant, runs):
    settings = shared.Learned()
    design, recipe = shared._designed(settings, "published", variant, 3)
    assert (recipe.runs, recipe.batch, recipe.horizon, recipe.seed) == (runs, 1, 100, 3)
    assert design.network == "whole" and design.radius == settings.published_radius
    assert shared._designed(settings, "literal", variant, 3)[0].radius == float("inf")
    design, recipe = shared._designed(settings, "ours", variant, 3)
    assert design == Design(variant=variant)
    assert recipe.runs * recipe.batch == settings.trajectories == 704


def test_tasks_that_have_begun_are_a_step_of_gradient_descent_further():
    tasks = TwoLayerRegression(3)
    begun = shared.Begun(tasks, 1e-3)
    drawn, later = (t.draw(2, torch.Generator().manual_seed(0)) for t in (tasks, begun))
    for i in range(2):
        weights = {k: w[i].clone().requires_grad_() for k, w in drawn.parameters.items()}
        data = {k: v[i] for k, v in drawn.data.items()}
        slopes = torch.autograd.grad(tasks.loss(weights, data), list(weights.values()))
        for (name, w), slope in zip(weights.items(), slopes, strict=True):
            assert_close(later.parameters[name][i], (w - 1e-3 * slope).detach(), rtol=1e-12, atol=0)


def test_the_first_step_counts():
    """Gradient descent at the rate of the first step is the same from either start."""
    settings = shared.Learned(size=3, tests=2, horizon=4, times=2, seeds=1, first_rate=1e-3)
    once, later = (shared.plain(settings, 1e-3, start)["runs"][0]["losses"] for start in shared.STARTS)
    assert len(once[0]) == len(shared.marks(settings, 8))
    # A step is once one of vmap(grad) on the tasks, once one of the baseline: the same up to rounding.
    assert_close(torch.tensor(once), torch.tensor(later), rtol=1e-9, atol=0)
