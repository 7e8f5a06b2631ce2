"""Verdicts on learned optimizers of test functions follow from the numbers."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import MetaOptimizer, evaluate
from isoloss.reproduce import EXPERIMENTS, overall
from isoloss.reproduce._figure import canvas
from isoloss.reproduce.experiments import _shared_l2o as l2o

SMALL = l2o.L2O(seeds=1, runs=1, batch=3, horizon=4, unroll=2, tasks=5, beyond=2, rates=(1.0,))


def holds(findings, *words):
    """What the only statement with all of these words says."""
    (found,) = [f for f in findings if all(w in f.statement for w in words)]
    return found.holds


def run(horizon, beyond, **more):
    return {
        "horizon": horizon,
        "beyond": beyond,
        "lost": {"horizon": 0.0, "beyond": 0.0},
        "score": 0.0,
    } | more


def augmented(horizon, beyond, alone, mean, gain):
    return run(
        horizon,
        beyond,
        rate=0.1,
        identity=run(alone, alone),
        teleports={"gain": gain, "sizes": [[0.1, 0.5, 1.0]], "change": 1e-12},
        **{"mean-rate": run(mean, mean)},
    )


def results():
    """As the paper has it: teleports harm, though they do something and the loss falls on."""
    return {
        "designs": ["ours"],
        "beyond": 10,
        "distributions": {
            "booth": {
                "title": "ellipses",
                "learned": {
                    name: {
                        "update": [run(1e-3 * f, 1e-6 * f) for f in (0.9, 1.0, 1.1)],
                        "update,tele": [
                            augmented(1e-2 * f, 1e-5 * f, 0.1, 0.2, 1.5) for f in (1.1, 1.0, 0.9)
                        ],
                    }
                    for name in ("published", "ours")
                },
                "baselines": {
                    name: [run(v, v) for _ in range(3)] for name, v in (("gd", 1e-1), ("adam", 1e-2))
                },
            }
        },
    }


def test_everything_as_the_paper_has_it():
    found = l2o.judge(results())
    assert overall(found) == "reproduced"
    assert holds(found, "learned teleports lower the loss") is False
    assert holds(found, "so they do over 10 times") is False
    assert holds(found, "update still converges") is True
    assert holds(found, "update,tele still converges") is True
    assert holds(found, "best baseline") is True
    assert holds(found, "needs its teleports") is True
    assert holds(found, "its local updates") is True
    assert holds(found, "raise the gradient norm") is True


@pytest.mark.parametrize(
    ("field", "value", "statement", "outcome"),
    [
        ("lost", {"horizon": 0.0, "beyond": 0.2}, "update,tele still converges", False),
        ("horizon", 1e-4, "learned teleports lower the loss", True),
        ("beyond", 1e-9, "so they do over", True),
        ("beyond", 1.0, "update,tele still converges", False),
        ("beyond", None, "update,tele still converges", False),
        ("horizon", None, "learned teleports lower the loss", False),
        ("identity", run(1e-4, 1e-4), "needs its teleports", False),
        ("mean-rate", run(1e-4, 1e-4), "its local updates", False),
        ("teleports", {"gain": 1.0, "sizes": [[0, 0, 0]], "change": 0.0}, "raise the gradient norm", False),
    ],
)
def test_one_statement_at_a_time(field, value, statement, outcome):
    told = copy.deepcopy(results())
    for one in told["distributions"]["booth"]["learned"]["ours"]["update,tele"]:
        one[field] = value
    found = l2o.judge(told)
    assert holds(found, statement) is outcome
    assert overall(found) == "reproduced"


def test_teleports_that_help_as_published_refute_the_paper():
    told = results()
    of = told["distributions"]["booth"]["learned"]["published"]
    of["update"], of["update,tele"] = of["update,tele"], of["update"]
    assert overall(l2o.judge(told)) == "not reproduced"


def test_equal_losses_are_open():
    told = results()
    of = told["distributions"]["booth"]["learned"]["published"]
    of["update,tele"] = of["update"]
    assert overall(l2o.judge(told)) == "open"


def test_a_training_that_was_given_up_is_judged():
    told = results()
    told["distributions"]["booth"]["learned"]["ours"]["update,tele"][0] = l2o._LOST
    found = l2o.judge(told)
    assert holds(found, "learned teleports lower the loss") is False
    assert holds(found, "update,tele still converges") is False


def test_the_best_score_is_chosen():
    runs = [{"score": v, "factor": i} for i, v in enumerate((None, 0.2, -0.3))]
    assert l2o._chosen(runs)["factor"] == 2


def test_training_and_unseen_tasks_differ_and_contenders_share_them():
    first, again = (l2o.unseen(SMALL, "booth", 0).parameters["w"] for _ in range(2))
    other = l2o.unseen(SMALL, "booth", 1).parameters["w"]
    trained = l2o.tasks_of("booth").draw(SMALL.tasks, torch.Generator().manual_seed(0)).parameters["w"]
    assert_close(first, again, rtol=0, atol=0)
    assert (first != other).all() and (first != trained).all()


@pytest.mark.parametrize("design", l2o.DESIGNS)
def test_both_variants_are_trained_alike(design):
    """They differ in the variant alone: same networks, recipe, tasks and seeds."""
    plain, augmented = (l2o.DESIGNS[design](*variant) for variant in l2o.VARIANTS.values())
    assert replace(plain, variant=augmented.variant) == augmented
    assert plain.variant == ("update",) and augmented.variant == ("update", "tele")


def test_a_path_is_the_run_that_is_shown():
    tasks, draw = l2o.tasks_of("booth"), l2o.unseen(SMALL, "booth", 0)
    torch.manual_seed(0)
    meta = MetaOptimizer.of(l2o.DESIGNS["ours"]("update", "tele"), tasks)
    path = l2o._paths(meta, tasks, draw)
    losses = evaluate(meta, tasks, draw, l2o.SHOWN).losses
    there = torch.func.vmap(tasks.loss)({"w": path[:, -1]}, draw.data)
    assert_close(there, losses[-1], rtol=0, atol=0)


def test_losses_around_the_start_are_those_of_the_task():
    told = l2o.levels(SMALL, "booth")["tasks"][0]
    draw = l2o.unseen(SMALL, "booth", 0)
    data = {name: x[0] for name, x in draw.data.items()}
    corner = torch.tensor(told["middle"], dtype=torch.float64) + told["reach"]
    want = float(l2o.tasks_of("booth").loss({"w": corner}, data))
    assert told["losses"][-1][-1] == pytest.approx(want, rel=1e-12)
    assert told["losses"][40][40] == pytest.approx(0.0, abs=1e-20)


def test_both_experiments_show_one_function_and_many():
    assert {"l2o-booth", "l2o-rosenbrock"} <= EXPERIMENTS.keys()


@pytest.mark.parametrize(("second", "shown"), [(0.25, 1), (-2.0, 0)], ids=["inside", "none inside"])
def test_the_paths_shown_are_of_a_task_where_they_stay_in_the_picture(second, shown):
    """Minimum at (4, 4), reach 2: paths from half of the reach, to outside in the first task."""
    levels = [
        {"losses": [[1.0 + i + j for j in range(81)] for i in range(81)], "middle": 4.0, "reach": 2.0}
    ] * 2
    ends = (3.0, second)
    paths = [[[5.0, 5.0], [4.0 + 2 * end, 4.0]] for end in ends]
    told = {"ours": {"update": [{"paths": paths}], "update,tele": [{"paths": paths}]}}
    _, ((axis,),) = canvas()
    l2o._panel_paths(axis, {"title": "valleys", "levels": levels, "learned": told}, "ours")
    update, tele, minimum = axis.lines
    assert update.get_label() == "update" and tele.get_label() == "update,tele"
    assert update.get_xydata().tolist() == tele.get_xydata().tolist() == [[0.5, 0.5], [ends[shown], 0.0]]
    assert minimum.get_xydata().tolist() == [[0.0, 0.0]]
