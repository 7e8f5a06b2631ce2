"""Verdicts of the experiments on learned teleportation follow from the numbers."""

import copy

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn.on_the_fly import reversal_rate
from isoloss.problems import descend
from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _on_the_fly as on_the_fly


def holds(findings, *words):
    """What the only statement with all of these words says."""
    (found,) = [f for f in findings if all(w in f.statement for w in words)]
    return found.holds


def results():
    """As the paper has it in every respect."""
    levels = dict(zip(on_the_fly.CONTENDERS, (1e-3, 1e-6, 1e-6, 1e-9, 1e-30, 1e-30), strict=True))
    return {
        "growth": {
            "quadratic": {"relative": [0.1, 2.0]},
            "softmax": {"relative": [0.3]},
            "network": {"relative": [-0.1, 0.2]},
        },
        "directions": {
            "below": 1.0,
            "beyond": 1.0,
            "limits": [0.6, 0.9],
            "published": 1e-14,
            "wrong": 0.0,
            "off": 1e-14,
        },
        "fastest": {"phase": [45.0], "plane": [30.0], "expected": [30.0], "step": 0.02},
        "finals": {name: [[1.0, v * f] for f in (0.9, 1.0, 1.1)] for name, v in levels.items()},
        "best": {name: [v * f for f in (0.9, 1.0, 1.1)] for name, v in levels.items()},
        "lemma": 1,
        "group_rate": 10.0,
        "attempts": 8,
        "steps": 10,
    }


def test_everything_as_the_paper_has_it():
    found = on_the_fly.judge(results())
    assert overall(found) == "reproduced"
    assert holds(found, "if and only if") is False
    assert holds(found, "halfway on the level set") is False
    assert holds(found, "lower than quarter turns") is False
    assert holds(found, "lower than random rotations") is True
    assert holds(found, "rotations that learn nothing") is True


@pytest.mark.parametrize(
    ("part", "field", "value", "statement", "outcome"),
    [
        ("directions", "beyond", 0.0, "consistently rotates", False),
        ("directions", "beyond", 0.0, "if and only if", True),
        ("directions", "beyond", None, "consistently rotates", None),
        ("directions", "below", 0.5, "if and only if", False),
        ("directions", "published", 0.3, "closed form of Appendix B", False),
        ("directions", "off", 0.3, "derived here", False),
        ("growth", "softmax", {"relative": [-1e-3]}, "for convex functions", False),
        ("growth", "network", {"relative": [1e-3]}, "not convex", False),
        ("fastest", "phase", [50.0], "halfway between the axes", False),
        ("fastest", "plane", [45.0], "halfway on the level set", True),
    ],
)
def test_one_claim_at_a_time(part, field, value, statement, outcome):
    told = copy.deepcopy(results())
    told[part][field] = value
    assert holds(on_the_fly.judge(told), statement) is outcome


def test_a_descent_that_is_no_faster_is_open():
    told = results()
    told["best"]["Algorithm 2"] = told["best"]["descent"]
    told["finals"]["Algorithm 2"] = told["finals"]["descent"]
    found = on_the_fly.judge(told)
    assert holds(found, "speeds up the descent") is None
    assert holds(found, "each at its own best rates, for every matrix") is None


def test_the_runs_without_teleports_are_descent():
    settings = on_the_fly.OnTheFly(seeds=4, rates=5, steps=4)
    forms, x = on_the_fly.drawn(settings)
    rates = on_the_fly.shares(settings) / forms.spectrum[0][..., 1]
    plain = descend(forms, x.expand(4, 5, 2), lr=rates, steps=4)
    finals = torch.tensor(on_the_fly.descents(settings, "descent", 0)["finals"], dtype=torch.float64)
    # Square roots of matrices of condition up to 1e4, four times.
    assert_close(finals, plain.losses[-1] / plain.losses[0], rtol=1e-8, atol=1e-14)


def test_one_teleport_and_quarter_turns_end_at_half_of_the_largest_rate():
    """The rates hold 1 / 2 lambda_2 in the middle; there both have wiped out all but rounding after two steps."""
    settings = on_the_fly.OnTheFly(seeds=4, rates=5, steps=2)
    for name in ("one teleport", "quarter turns"):
        finals = torch.tensor(on_the_fly.descents(settings, name, 0)["finals"], dtype=torch.float64)
        assert (finals[:, 2] < 1e-20).all() and (finals[:, [0, 4]] > 1e-10).all()


def test_directions_follow_the_reversal_rate():
    settings = on_the_fly.OnTheFly(seeds=5, rates=19)
    told, (forms, _) = on_the_fly.directions(settings), on_the_fly.drawn(settings)
    assert told["below"] == 1 and told["beyond"] == 0 and told["off"] < 1e-10
    assert_close(
        torch.tensor(told["limits"], dtype=torch.float64),
        (reversal_rate(forms) * forms.spectrum[0][..., 1]).flatten(),
    )
