"""Verdicts follow from the numbers: results made up to hold, to fail, and to leave it open."""

import copy
import math

import numpy as np
import pytest

from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _convergence as convergence
from isoloss.reproduce.experiments import _distance as distance
from isoloss.reproduce.experiments import _generalization as generalization
from isoloss.reproduce.experiments import _minima as minima
from isoloss.reproduce.experiments import _mnist as mnist
from isoloss.reproduce.experiments import _optimizers as optimizers
from isoloss.reproduce.experiments import _regression as regression
from isoloss.reproduce.experiments import _runtime as runtime
from isoloss.reproduce.experiments import _schedules as schedules
from isoloss.reproduce.experiments import _strategies as strategies

SPREAD = (0.98, 1.0, 1.03)


def entry(final, *, best=None, validation=None, change=0.0, gain=2.0, wild=False, **more):
    """A contender whose final losses scatter a little around a number."""

    def runs(level):
        factors = (0.2, 1.0, 5.0) if wild else SPREAD
        jump = {
            "epoch": 1,
            "before": {"training": 2.0, "loss": 2.0, "gradient": 1.0},
            "after": {"training": 2.0 * (1 + change), "loss": 2.0 * (1 + change), "gradient": gain},
            "objective_before": 1.0,
            "objective_after": gain,
            "size": 0.1,
        }
        held_out = level if validation is None else validation
        return [
            {
                "final": level * f,
                "final_validation": held_out * f,
                "lowest_validation": held_out * f,
                "early_validation": held_out * f,
                "lowest_after": held_out * f,
                "jumps": [jump],
                "seconds": [0.0, 1.0, 2.0],
                "move_seconds": 0.1,
            }
            | more
            for f in factors
        ]

    best = final if best is None else best
    return {
        "sweep": [],
        "shared": {"rate": 0.1, "runs": runs(final)},
        "best": {"rate": 0.3, "runs": runs(best)},
    }


def outcomes(findings, start):
    """What holds, of the findings whose statement begins like this."""
    chosen = [f.holds for f in findings if f.statement.startswith(start)]
    assert chosen, start
    return chosen


def contest(plain, published, **others):
    names = {"published": published, "difference": published, "isoloss": published, "scalings": published}
    return names | {"random": plain, "reset only": plain} | others


def test_regression_speaks_of_both_rates_and_of_the_jump():
    of = {n: entry(0.5, best=1.0) for n in ("published", "exact", "isoloss")}
    of["published"] = entry(0.5, best=1.0, change=-0.9)
    rest = {"random": entry(1.0), "reset only": entry(0.5)}
    found = regression.judge({"contests": {"AdaGrad": {"AdaGrad": entry(1.0)} | of | rest}})
    assert outcomes(found, "AdaGrad: published teleport ends lower") == [True, None]
    assert outcomes(found, "AdaGrad: the published teleport leaves the loss unchanged") == [False]
    assert outcomes(found, "AdaGrad: the exact teleport leaves the loss unchanged") == [True]
    assert outcomes(found, "exact ends lower than reset only") == [None]
    assert outcomes(found, "resetting AdaGrad") == [True]
    assert overall(found) == "reproduced in part"


def test_mnist_tells_training_from_validation():
    fast = entry(0.5, validation=1.0)
    found = mnist.judge(
        {"contests": {n: contest(entry(1.0), fast) | {n: entry(1.0)} for n in ("SGD", "AdaGrad")}}
    )
    assert outcomes(found, "SGD: the published teleport ends lower") == [True, True]
    assert outcomes(found, "SGD: the teleport does not help the validation loss") == [None]
    better = entry(0.5, validation=0.5, change=0.2)
    found = mnist.judge(
        {"contests": {n: contest(entry(1.0), better) | {n: entry(1.0)} for n in ("SGD", "AdaGrad")}}
    )
    assert outcomes(found, "AdaGrad: the teleport does not help the validation loss") == [False]
    assert outcomes(found, "SGD: the published jump leaves the training loss unchanged") == [False]


def test_optimizers_ask_what_the_reset_alone_does():
    names = ("momentum", "AdaGrad", "RMSProp", "Adam")
    reset = {n: contest(entry(1.0), entry(0.8)) | {n: entry(1.0), "reset only": entry(0.8)} for n in names}
    found = optimizers.judge({"contests": reset, "shortened": 1.0})
    assert overall(found) == "reproduced"
    assert outcomes(found, "AdaGrad: the reset alone") == [True]
    assert outcomes(found, "published ends lower than reset only") == [None] * 4
    slow = {n: of | {"published": entry(0.8, move_seconds=9.0)} for n, of in reset.items()}
    found = optimizers.judge({"contests": slow, "shortened": 1.0})
    assert outcomes(found, "Adam: the teleport takes less time") == [False]
    wild = {n: of | {"published": entry(0.8, wild=True)} for n, of in reset.items()}
    assert outcomes(
        optimizers.judge({"contests": wild, "shortened": 1.0}), "AdaGrad: the teleport lowers"
    ) == [None, None]


def test_optimizers_count_the_seeds_that_diverge():
    names = ("momentum", "AdaGrad", "RMSProp", "Adam")
    contests = {n: contest(entry(1.0), entry(0.8)) | {n: entry(1.0)} for n in names}
    found = optimizers.judge({"contests": contests, "shortened": 1.0})
    assert [f.holds for f in found if "training bears" in f.statement] == [True] * 4
    runs = contests["Adam"]["published"]["shared"]["runs"]
    runs[0]["jumps"] = [runs[0]["jumps"][0] | {"after": {"training": 3.0}, "objective_after": 1e6}]
    runs[1] |= {"jumps": [runs[1]["jumps"][0] | {"objective_after": None}], "final": None}
    told = optimizers.judge({"contests": contests, "shortened": 1.0})
    (adam,) = [f for f in told if f.statement.startswith("Adam: training bears")]
    assert adam.holds is False
    assert "diverges in 1 of 3 seeds" in adam.evidence and "at worst 1.5 times" in adam.evidence
    assert "1e+06, 2, not finite times" in adam.evidence


def test_strategies_compare_all_three_and_both_norms():
    momentum = {"momentum": entry(1.0), "random": entry(1.0), "reset only": entry(1.0)}
    momentum |= {n: entry(0.5) for n in ("transport", "keep", "reset")}
    adagrad = {
        "AdaGrad": entry(1.0),
        "random": entry(1.0),
        "reset only": entry(1.0),
        "|g|": entry(0.6),
        "|g|_A": entry(0.5),
    }
    found = strategies.judge({"contests": {"momentum": momentum, "AdaGrad": adagrad}})
    assert overall(found) == "reproduced"
    momentum["reset"] = entry(0.9)
    adagrad["|g|_A"] = entry(0.7)
    found = strategies.judge({"contests": {"momentum": momentum, "AdaGrad": adagrad}})
    assert outcomes(found, "the three strategies for momentum train alike") == [False]
    assert outcomes(found, "AdaGrad: raising |g|_A ends lower") == [False]


def test_schedules_need_the_whole_order():
    def results(a, b, c):
        return {
            "contests": {
                "a": {"none": entry(1.0)} | {f"epoch {e}": entry(v) for e, v in enumerate(a)},
                "b": {"none": entry(1.0)} | {f"every {i}": entry(v) for i, v in enumerate(b)},
                "c": {"none": entry(1.0)} | {f"{n} minibatches": entry(v, validation=1.0) for n, v in c},
            }
        }

    c = ((1, 0.9), (2, 0.8), (4, 0.6))
    found = schedules.judge(results((0.9, 0.5, 0.6, 0.7), (0.5, 0.6, 0.7), c))
    assert overall(found) == "reproduced"
    assert outcomes(found, "(c) more minibatches overfit") == [True]
    wild = results((0.9, 0.5, 0.6, 0.7), (0.5, 0.6, 0.7), c)
    for run in wild["contests"]["c"]["4 minibatches"]["shared"]["runs"]:
        run |= {"final": None, "final_validation": None}
    assert outcomes(schedules.judge(wild), "(c) more minibatches overfit") == [None]
    found = schedules.judge(results((0.4, 0.5, 0.7, 0.6), (0.5, 0.7, 0.6), tuple(reversed(c))))
    assert outcomes(found, "(a) a teleport before training is worse") == [False, False]
    assert outcomes(found, "(a) the earlier")[0] is False
    assert outcomes(found, "(b) the closer")[0] is False


def test_convergence_counts_the_combinations_and_the_tuned_rate():
    def cells(*speedups):
        return [
            {"steps": 1, "teleport": 1e-7, "speedup": s, "steps_ratio": s, "loss_ratio": s and 1.0}
            for s in speedups
        ]

    def results(tuned, *speedups):
        told = {"published": cells(*speedups), "exact": cells(*speedups)}
        fastest = {"rate": 1e-3, "speedup": tuned, "loss_ratio": 1.0}
        return {"optimizers": {"GD": {"cells": told, "tuned": fastest, "sweep": []}}}

    found = convergence.judge(results(5.0, 2.0, 1.5, 0.9, None))
    assert outcomes(found, "GD, published teleport: most") == [True]
    assert outcomes(found, "GD, published teleport: the best") == [False]
    assert outcomes(convergence.judge(results(1.5, 2.0, 0.5, 0.9)), "GD, exact teleport: most") == [False]
    assert outcomes(convergence.judge(results(1.0, None)), "GD, exact teleport: most") == [None]


def test_minima_ask_what_the_training_loss_knows():
    rng = np.random.default_rng(0)
    validation = rng.normal(1.0, 0.1, 100)
    noise = rng.normal(0, 1, 100)

    def told(phi, psi, excess):
        of = {"phi": phi, "psi": psi, "excess": excess, "training": phi, "phi_positive": phi}
        correlations = {k: minima.correlation(list(v), list(validation)) for k, v in of.items()}
        one = {"correlations": correlations, "phi_and_training": minima.correlation(list(phi), list(phi))}
        return {"datasets": {"mnist": one}, "absent": {"fashion_mnist": "no network"}}

    found = minima.judge(told(validation + 0.01 * noise, -validation + 0.2 * noise, noise))
    assert [f.holds for f in found[1:]] == [True, True, False] and found[0].holds is None
    found = minima.judge(told(noise, validation, validation))
    assert [f.holds for f in found[1:]] == [False, False, True]


def test_correlation_is_pearsons_with_fishers_interval():
    a, b = [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 4.0, 6.0]
    found = minima.correlation(a, b)
    assert found["r"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found["high"] == pytest.approx(math.tanh(math.atanh(found["r"]) + 1.96))


def test_generalization_asks_whether_the_aim_was_reached():
    def results(levels, gain):
        of = {
            name: entry(1.0, validation=levels.get(name.split(",")[0], 1.0), gain=gain)
            for name in generalization.CONTENDERS
        }
        return {"optimizers": {"SGD": {name: e["shared"]["runs"] for name, e in of.items()}}}

    levels = {"flatter": 0.9, "sharper": 1.0, "curvier": 0.8, "straighter": 1.2}
    found = generalization.judge(results(levels, 1.2))
    assert overall(found) == "reproduced"
    assert outcomes(found, "SGD: curvier, published: changes what it aims at") == [True]
    assert outcomes(found, "SGD: straighter, published: changes what it aims at") == [False]
    found = generalization.judge(results({}, 1.0))
    assert overall(found) == "reproduced in part"  # sharper is said to change nothing
    assert outcomes(found, "SGD: curvier, published: changes what it aims at") == [False]


def test_runtime_fits_exponents():
    x = [64.0, 128.0, 256.0]
    assert runtime.fit(x, [3 * v**2.5 for v in x]) == pytest.approx({"exponent": 2.5, "r2": 1.0})

    def results(wide, deep):
        one = {"dimension": {"exponent": wide, "r2": 0.99}, "layers": {"exponent": deep, "r2": 0.99}}
        cost = {"steps": 0.5, "share": 0.9}
        return {
            "fits": dict.fromkeys(runtime.CONTENDERS, one),
            "steps": {"published": cost | {"steps": 100.0}, "isoloss": cost, "scalings": cost},
        }

    assert overall(runtime.judge(results(2.4, 1.0))) == "reproduced"
    assert outcomes(runtime.judge(results(4.5, 1.0)), "the time grows polynomially") == [False]
    assert outcomes(runtime.judge(results(2.4, 2.0)), "the time grows linearly") == [False]


def test_distances_have_closed_forms_where_geometry_gives_them():
    x, y = np.array([0.0, 3.0, 0.0]), np.array([-2.0, 4.0, 1.0])
    np.testing.assert_allclose(distance.to_circle(x, y, 1.0), [2.0, math.hypot(3, 3) - 1, 1.0])
    # From (0, -2) the vertex is nearest; (1, 1/2) lies on the parabola y = x^2 / 2; from (0, 1) the vertex again.
    x, y = np.array([0.0, 1.0, 0.0]), np.array([-2.0, 0.5, 1.0])
    np.testing.assert_allclose(distance.to_parabola(x, y, 1.0), [2.0, 0.0, 1.0], atol=1e-9)
    # From (0, 3), (t, t^2 / 2) with t^2 = 2 (3 - 1) is nearest: distance sqrt(4 + 1).
    np.testing.assert_allclose(distance.to_parabola(np.zeros(1), np.full(1, 3.0), 1.0), [math.sqrt(5)])


def test_distance_needs_a_dependence():
    line = {"curvature": [0.01, 1.0, 10.0], "distance": [2 / math.pi, 0.6, 0.7]}
    other = copy.deepcopy(line) | {"distance": [2 / math.pi, 0.7, 0.8]}
    found = distance.judge({"curves": {"parabola": {"1.0": line}, "circle": {"1.0": other}}})
    assert overall(found) == "reproduced"
    flat = line | {"distance": [2 / math.pi] * 3}
    found = distance.judge({"curves": {"parabola": {"1.0": flat}, "circle": {"1.0": flat}}})
    assert [f.holds for f in found] == [True, False, False]
