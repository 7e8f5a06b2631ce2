"""Verdicts follow from the numbers."""

import math

import pytest

from isoloss.demo._report import report
from isoloss.demo._verdict import Spread, judge, leaders


def runs(*finals):
    return [{"training_loss": [9.0, f], "validation_loss": [9.0, f]} for f in finals]


def test_ranges_that_do_not_meet_are_apart():
    low, high, wide = Spread.of([1.0, 2.0]), Spread.of([2.5, 3.0]), Spread.of([1.5, 2.7])
    assert low.apart(high) and high.apart(low)
    assert not low.apart(wide) and not wide.apart(high) and not low.apart(low)


def test_change_and_side_of_the_spread():
    verdicts = judge(
        {"SGD": runs(1.0, 3.0), "SGD + balance": runs(0.5, 0.5), "SGD + teleport": runs(2.0, 4.0)}
    )
    told = {(v.contender, v.measure): (v.change, v.outside) for v in verdicts}
    assert told["SGD + balance", "training_loss"] == (-0.75, True)
    assert told["SGD + teleport", "validation_loss"] == (0.5, False)
    assert {v.against for v in verdicts} == {"SGD"}


def test_verdict_reads_as_a_sentence():
    lines = [str(v) for v in judge({"Adam": runs(1.0, 1.0), "Adam + balance": runs(0.8, 0.8)})]
    assert lines[0] == "Adam + balance: training loss 20% lower than Adam, outside the seed spread"
    (line, _) = (str(v) for v in judge({"Adam": runs(1.0, 2.0), "Adam + balance": runs(1.0, 3.5)}))
    assert line == "Adam + balance: training loss 1.5 times that of Adam, inside the seed spread"


def test_divergence_counts_as_infinite():
    assert Spread.of([1.0, None]) == Spread(math.inf, 1.0, math.inf)
    (verdict, _) = judge({"SGD": runs(1.0, 1.0), "SGD + balance": runs(None, None)})
    assert verdict.change == math.inf and verdict.outside


@pytest.mark.parametrize("measure", ["training_loss", "validation_loss"])
def test_leader_and_those_it_cannot_be_told_from(measure):
    told = leaders({"a": runs(1.0, 2.0), "b": runs(0.5, 1.5), "c": runs(3.0, 4.0)}, measure)
    assert told == ["b", "a"]


def test_report_names_rates_and_ranges():
    of = {
        "training_loss": [0.5],
        "validation_loss": [0.25],
        "validation_accuracy": [0.9],
        "seconds": [1.0],
        "jumps": [{"before": {"training_loss": 2.0}, "after": {"training_loss": 2.5}}],
    }
    entry = {"runs": [of | {"learning_rate": 0.1}, of | {"learning_rate": 0.32, "training_loss": [0.7]}]}
    text = report({"scenes": {"default": {"contenders": {"SGD": entry}, "largest_change_of_outputs": 3e-16}}})
    assert "default (2 seeds" in text and "0.1 .. 0.32" in text and "0.6" in text and "(0.5 .. 0.7)" in text
    assert "changed the outputs by at most 3e-16" in text
    assert "2 jumps changed the training loss by at most 2e-01 of it" in text
    assert "lowest training loss: SGD, nobody within its seed spread" in text
