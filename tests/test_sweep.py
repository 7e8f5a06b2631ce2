"""The search of a best rate, on scores that are known."""

import math

import pytest

from isoloss._sweep import shifted, sweep


def test_sweep_is_refined_around_everybodys_best():
    """The best rates lie between half decades; a quarter decade away they are found."""
    best = {"low": 0.18, "high": 1.8}
    told, of = sweep(
        tuple(best),
        0.1,
        lambda pairs: [abs(math.log(rate / best[name])) for name, rate in pairs],
        lambda distance: distance,
    )
    assert of == best
    assert all(len(tried) >= 6 for tried in told.values())


def test_a_sweep_can_be_refined_further():
    _, of = sweep(
        ("a",),
        0.1,
        lambda pairs: [abs(math.log(r / 0.23)) for _, r in pairs],
        lambda distance: distance,
        refinements=3,
    )
    # From 0.32 a quarter decade down, an eighth up, a sixteenth does not help: within a sixteenth of a decade.
    assert abs(math.log10(of["a"] / 0.23)) < 1 / 16


def test_rates_are_tried_once():
    tried = []

    def evaluate(pairs):
        tried.extend(pairs)
        return [0.0 for _ in pairs]

    sweep(("a", "b"), 0.1, evaluate, lambda score: score)
    assert len(set(tried)) == len(tried)


def test_rates_do_not_drift():
    rate = 2e-3
    assert shifted(rate, 0) is rate and shifted(shifted(rate, 2), -2) == pytest.approx(rate)
