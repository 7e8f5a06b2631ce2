"""Contenders at a shared rate and at their own best, with numbers that are known."""

import math

import pytest

from isoloss.reproduce._contest import both_rates, contest, plot_contests, versus


def each(run, cases):
    return [run(None, **case) for case in cases]


def valley(settings, contender, rate, seed, depth=1.0):
    """Final loss: lowest at a rate of the contender's own; above 3 it diverges."""
    best = {"plain": 1.0, "ours": 0.1, "far": 1e-4}[contender]
    loss = depth * (1 + seed) * (1 + math.log10(rate / best) ** 2)
    return {"final": None if rate > 3 else loss, "loss": [9.0, loss], "epochs": [0, 1], "rate": rate}


def test_sweep_has_six_rates_and_finds_everybodys_best():
    found = contest(each, valley, ("plain", "ours"), seeds=2, rate=0.1)
    assert [p["rate"] for p in found["ours"]["sweep"]] == pytest.approx(
        [0.032, 0.056, 0.1, 0.18, 0.32, 1.0, 3.2], rel=1e-6
    )
    assert found["ours"]["best"]["rate"] == 0.1 == found["ours"]["shared"]["rate"]
    assert found["plain"]["best"]["rate"] == 1.0
    assert [p["finals"] for p in found["plain"]["sweep"] if p["rate"] > 3] == [[None, None]]


def test_sweep_goes_on_while_the_best_is_at_an_edge():
    found = contest(each, valley, ("far",), seeds=1, rate=0.1)
    rates = [p["rate"] for p in found["far"]["sweep"]]
    assert found["far"]["best"]["rate"] == pytest.approx(1e-4) and min(rates) < 1e-4


def test_all_try_the_half_decades_that_one_tries():
    """The gap of the one at 0.32 and 1.0 does not keep it from its best rate."""

    def gapped(settings, contender, rate, seed):
        bad = contender == "gapped" and 0.2 < rate < 2
        return {"final": None if bad else 1 + abs(math.log10(rate / 10))}

    found = contest(each, gapped, ("plain", "gapped"), seeds=1, rate=0.1)
    assert found["plain"]["best"]["rate"] == found["gapped"]["best"]["rate"] == pytest.approx(10.0)


def unstable(settings, contender, rate, seed):
    """One seed of three diverges at every rate; the others do best at 0.1."""
    return {"final": None if seed == 0 else 1 + math.log10(rate / 0.1) ** 2}


def test_seeds_that_diverge_at_every_rate_do_not_choose_it():
    """The best rate is that of the others, not the lowest there is."""
    found = contest(each, unstable, ("a",), seeds=3, rate=0.1)
    assert found["a"]["best"]["rate"] == 0.1
    assert "diverged in 1 of 3 seeds" in str(versus(found, "a", "a"))


def test_case_is_handed_on():
    found = contest(each, valley, ("plain",), seeds=1, rate=1.0, depth=5.0)
    assert found["plain"]["best"]["runs"][0]["final"] == 5.0


def test_findings_speak_of_both_rates():
    found = contest(each, valley, ("plain", "ours"), seeds=2, rate=0.1)
    shared, best = both_rates(found, "ours", "plain", "ours is lower")
    assert shared.kind == "paper" and shared.holds is True and "shared rate 0.1" in shared.evidence
    assert best.kind == "control" and best.holds is None and "ours 0.1, plain 1" in best.evidence
    assert versus(found, "ours", "plain", "best").ratio == pytest.approx(1.0)


def test_figure_bears_runs_that_diverged():
    found = contest(each, valley, ("plain", "ours"), seeds=2, rate=0.1)
    found["plain"]["shared"]["runs"][0]["loss"] = [9.0]
    found["ours"]["shared"]["runs"][1]["loss"][-1] = None
    figure, axes = plot_contests({"valley": found}, measure="loss", label="loss", also="loss")
    figure.canvas.draw()
    assert axes.shape == (1, 4)
    assert len(axes[0, 2].lines) == 7  # for each a sweep, a ring, its crosses; and the shared rate
