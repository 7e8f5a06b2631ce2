"""Verdicts of the experiments of Chapter 2 follow from the numbers."""

import copy

import pytest
import torch

from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _conserved as conserved
from isoloss.reproduce.experiments import _drift as drift
from isoloss.reproduce.experiments import _eigenvalues as eigenvalues
from isoloss.reproduce.experiments import _imbalance as imbalance
from isoloss.reproduce.experiments import _orbits as orbits
from isoloss.reproduce.experiments import _plane as plane
from isoloss.reproduce.experiments import _radial as radial


def holds(findings, *words):
    """What the only statement with all of these words says."""
    (found,) = [f for f in findings if all(w in f.statement for w in words)]
    return found.holds


# --- Figure 2.4 ---


def descents(needed, seeds=3):
    """Starts whose steps follow from design, value and seed."""

    def run(design, value, q, s):
        return {
            "design": design,
            "value": value,
            "quantity": q,
            "size": value,
            "losses": [],
            "needed": needed(design, value, s),
            "tuned": 10.0 + s,
        }

    values = (1.0, 2.0, 3.0, 4.0)
    told = [
        {
            "runs": [run("published", v, -v, s) for v in values]
            + [run("orbit", v, (-1) ** v * v, s) for v in values]
            + [run("level", v, 0.0, s) for v in values],
            "moved_loss": 0.0,
        }
        for s in range(seeds)
    ]
    return {"descents": {"relu": told}, "level": 0.01}


def test_steps_that_follow_the_scale_are_not_said_to_follow_q():
    found = imbalance.judge(descents(lambda design, value, s: 100 / value + s / 100))
    assert overall(found) == "reproduced"
    assert holds(found, "over all starts") is True
    assert holds(found, "at the same function, Q is correlated") is None
    assert holds(found, "at the same Q") is True
    assert holds(found, "best learning rate, the number") is None
    assert holds(found, "best learning rate, another Q") is None


def test_steps_of_chance_leave_it_open():
    chance = torch.rand(1000, generator=torch.Generator().manual_seed(0)).tolist()
    found = imbalance.judge(descents(lambda *_: chance.pop()))
    assert overall(found) == "open"


def test_starts_that_never_converge_are_told():
    found = imbalance.judge(descents(lambda *_: None))
    assert overall(found) == "open" and holds(found, "at the same Q") is None


# --- Figure 2.7 ---


def minima(mean, zeros=18, converged=True, seeds=3):
    def point(design, value, q):
        return {
            "design": design,
            "value": value,
            "quantity": q,
            "size": value,
            "converged": converged,
            "zeros": zeros,
            "mean": mean(value, q),
            "eigenvalues": [mean(value, q)],
        }

    told = [
        {
            "minima": [point("published", v, v + s / 10) for v in (1.0, 2.0, 3.0, 4.0)]
            + [point("orbit", v, (-1) ** v * v) for v in (1.0, 2.0, 3.0, 4.0)]
            + [point("level", v, 0.0) for v in (1.0, 2.0)],
            "explained": {"explained": 18, "orbit": 18},
        }
        for s in range(seeds)
    ]
    return {"minima": {"identity": told}, "sizes": [3, 4, 3]}  # 4 (3 + 3) - 9 = 15


def test_eigenvalues_that_grow_with_the_scale():
    found = eigenvalues.judge(minima(lambda value, q: value, zeros=15))
    assert overall(found) == "reproduced"
    assert holds(found, "same function, the mean") is None and holds(found, "over all minima") is True
    assert holds(found, "symmetries explain") is True and holds(found, "at zero loss") is False


def test_the_mean_of_the_eigenvalues_is_a_sum_of_squares():
    told = minima(lambda value, q: 2 * (value / 2 + q) / 3 + 2 * (value / 2 - q) / 3, zeros=15)
    assert holds(eigenvalues.judge(told), "at zero loss") is True


def test_eigenvalues_that_fall_with_q_or_are_too_many():
    found = eigenvalues.judge(minima(lambda value, q: 1 / value, zeros=20))
    assert overall(found) == "not reproduced" and holds(found, "symmetries explain") is False


def test_points_that_have_not_converged_are_no_minima():
    found = eigenvalues.judge(minima(lambda value, q: value, converged=False))
    assert holds(found, "linear: the mean") is None and overall(found) == "not reproduced"


# --- Figures 2.2 and 2.3 ---


def distributions(center=0.0, width=1.0, skew=False):
    g = torch.Generator().manual_seed(0)

    def normal(shift):
        return (shift + torch.randn(400, generator=g)).tolist()

    odd = torch.randn(400, generator=g) * width
    return {
        "dimensions": [
            {"sizes": [100, 100, 100], "values": normal(0.0)},
            {"sizes": [100, 200, 100], "values": normal(center - 50.0)},
        ],
        "activations": [
            {"activation": "identity", "values": normal(0.0), "orbit": [-90.0, 90.0]},
            {"activation": "tanh", "values": (odd.exp() if skew else odd).tolist(), "orbit": [-90.0, 90.0]},
        ],
    }


def test_centers_are_tested_with_and_without_the_half():
    found = conserved.judge(distributions())
    assert holds(found, "leaves out the factor") is True and holds(found, "Eq. 2.14) are m - h") is False
    assert holds(found, "tanh: the shape") is True and holds(found, "widths") is True
    found = conserved.judge(distributions(center=-50.0))
    assert holds(found, "leaves out the factor") is False and holds(found, "Eq. 2.14) are m - h") is True


def test_shapes_and_widths_are_told_apart():
    found = conserved.judge(distributions(skew=True))
    assert holds(found, "tanh: the shape") is False
    found = conserved.judge(distributions(width=30.0))
    assert holds(found, "tanh: the shape") is True
    assert holds(found, "widths") is False and holds(found, "concentrated") is False


# --- Figure A.1 ---


def drifts(final, *, late=0.0, change=0.5):
    """By rate the drift at the end; `late` is how much of it comes after the loss has converged."""
    loss = [1.0, 0.1, *[1e-9] * 8]

    def one(end):
        path = [0.0, (1 - late) * end, (1 - late) * end, *[end] * 7]
        return {
            "steps": [],
            "loss": [loss],
            "drift": [path],
            "change": [[change] * 10],
            "bound": [[1.0] * 10],
        }

    return {
        "descents": {"identity": {str(r): one(e) | {"error": 1.0, "excess": 0.0} for r, e in final.items()}}
    }


def test_drifts_of_one_magnitude_and_of_first_order():
    found = drift.judge(drifts({0.1: 2e-3, 0.01: 1.5e-3, 0.001: 1e-3}))
    assert overall(found) == "reproduced"
    found = drift.judge(drifts({0.1: 1e-3, 0.01: 1e-4, 0.001: 1e-5}))
    assert holds(found, "same magnitude") is False and overall(found) == "reproduced in part"


def test_drifts_that_are_large_go_on_or_exceed_the_bound():
    found = drift.judge(drifts({0.1: 0.2, 0.001: 0.1}, late=0.5, change=1.1))
    assert holds(found, "is small") is False
    assert holds(found, "stays constant") is False
    assert holds(found, "Proposition A.4.1") is False


# --- Theorem 2.3.8 ---


def test_dimensions_are_compared_with_the_theorem():
    right = {"sizes": [1, 1, 1], "measured": [1], "special": 1, "published": 1, "generic": 1}
    wrong = {"sizes": [1, 3, 1], "measured": [3], "special": 1, "published": 1, "generic": 3}
    found = orbits.judge({"rows": {"linear": [right], "homogeneous": [right, wrong]}})
    assert overall(found) == "reproduced in part"
    assert [f.holds for f in found] == [True, False, True, True]
    assert "1 of 2 networks, all with h > max(n, m): at (m, h, n) = (1, 3, 1) 3" in found[1].evidence
    unstable = right | {"measured": [1, 2]}
    assert orbits.judge({"rows": {"linear": [unstable]}})[0].holds is False


# --- Figure 2.5 ---


def radials(ends, scaled=1.0, **flow):
    def runs(end):
        return [{"losses": [1.0, end * f]} for f in (0.99, 1.0, 1.01)]

    told = {"error": 0.0, "excess": 0.0, "drift": 0.0, "turned": 3, "above": 3, "points": 10}
    return {
        "descents": {str(q): runs(e) for q, e in ends.items()},
        "scaled": {str(q): runs(scaled * next(iter(ends.values()))) for q in ends},
        "flows": {str(q): [told | flow] for q in ends},
        "rate": 1e-5,
    }


def test_small_charges_converge_first_at_one_rate_only():
    found = radial.judge(radials({0.1: 0.01, 1.0: 0.1}))
    assert holds(found, "smaller Q at initialization") is True and holds(found, "in proportion") is False
    assert holds(found, "Eq. 2.46") is False and holds(found, "Proposition 2.7.2") is True
    assert holds(radial.judge(radials({0.1: 0.1, 1.0: 0.01})), "smaller Q at") is False
    assert holds(radial.judge(radials({0.1: 0.01, 1.0: 0.1}, scaled=1.5)), "in proportion") is True


def test_the_propositions_of_the_radial_network_can_fail():
    found = radial.judge(radials({0.1: 0.01, 1.0: 0.1}, error=1e-3, excess=1e-3))
    assert holds(found, "Proposition 2.7.2") is False and holds(found, "Proposition 2.7.3") is False


# --- Figures 2.1 and 2.6 ---


def test_the_plane_asks_for_the_printed_eigenvalue():
    q = [-1.0, 0.0, 1.0]
    root = [(v * v + 4) ** 0.5 for v in q]
    along = {
        "u": [],
        "v": [],
        "quantity": q,
        "loss": [0.0] * 3,
        "flat": [0.0] * 3,
        "sharpness": root,
        "printed": [2 * r for r in root],
    }
    ends = [((c + (c * c + 4) ** 0.5) / 2) ** 0.5 for c in (q[0], q[2])]
    paths = [
        {"charge": c, "u": [u], "v": [1 / u], "drift": 0.0} for c, u in zip((q[0], q[2]), ends, strict=True)
    ]
    results = {"trajectories": paths, "valley": along, "target": 1.0}
    found = plane.judge(results)
    assert [f.holds for f in found] == [True, True, True, False, True]
    printed = copy.deepcopy(results)
    printed["valley"]["sharpness"] = along["printed"]
    assert [f.holds for f in plane.judge(printed)] == [True, True, True, True, False]
    elsewhere = copy.deepcopy(results)
    elsewhere["trajectories"][0]["u"] = [5.0]
    assert plane.judge(elsewhere)[1].holds is False


@pytest.mark.parametrize("product", [0.5, 3.0])
def test_points_of_the_plane_have_the_charge_and_product(product):
    here = plane.on_hyperbola(-2.0, product)
    u, v = float(here[plane.U]), float(here[plane.V])
    assert u * v == pytest.approx(product) and u * u - v * v == pytest.approx(-2.0)
