"""The numbers that the experiments of Chapter 2 compute, where they are known."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.reproduce.experiments import _conserved as conserved
from isoloss.reproduce.experiments import _drift as drift
from isoloss.reproduce.experiments import _eigenvalues as eigenvalues
from isoloss.reproduce.experiments import _imbalance as imbalance
from isoloss.reproduce.experiments import _orbits as orbits
from isoloss.reproduce.experiments import _plane as plane
from isoloss.reproduce.experiments import _radial as radial

EPS = torch.finfo(torch.float64).eps


def test_the_sharpness_of_the_plane():
    told = plane.valley(plane.Plane(target=3.0))
    for q, sharp in zip(told["quantity"], told["sharpness"], strict=True):
        assert sharp == pytest.approx((q * q + 36.0) ** 0.5, rel=1e3 * EPS)


def test_three_scales_move_where_the_theorem_counts_one():
    told = orbits.dimensions(orbits.Orbits(seeds=1, outer=(1,), hidden=(3,)), "homogeneous", 1)
    (row,) = told["rows"]
    assert row["measured"] == [3] and row["special"] == row["published"] == 1


def test_the_center_of_the_distribution():
    told = conserved.draw(conserved.Conserved(sets=400), (30, 10, 20), "identity", 0)
    values = torch.tensor(told["values"])
    assert len(values) == 400
    assert abs(values.mean() - 10.0) < 4 * values.std() / 20


def test_no_rate_is_better_than_the_best():
    settings = imbalance.Imbalance(sizes=(2, 8, 3), steps=2000, tuned_steps=2000, points=30)
    runs = [run for run in imbalance.descents(settings, "tanh", 0)["runs"] if run["needed"]]
    assert len(runs) > 5 and all(run["tuned"] <= run["needed"] for run in runs)
    assert any(run["tuned"] < run["needed"] / 2 for run in runs)


def test_zeros_of_linear_layers_are_the_orbit():
    settings = eigenvalues.Eigenvalues(sizes=(3, 7, 2), steps=4000, deviations=(0.5,), factors=(2.0,))
    told = eigenvalues.minima(settings, "identity", 0)
    # 7 (3 + 2) - 3 * 2
    assert told["explained"] == {"explained": 29, "orbit": 29}
    for point in told["minima"]:
        assert point["converged"] and point["zeros"] == 29 and len(point["eigenvalues"]) == 6
    orbit = [p for p in told["minima"] if p["design"] == "orbit"]
    assert_close(told["moved_loss"], 0.0, rtol=0, atol=1e3 * EPS)
    assert orbit[0]["mean"] != pytest.approx(orbit[1]["mean"], rel=0.01)


def test_the_drift_falls_with_the_rate():
    """At equal times, as Q changes by the square of the rate in a step."""
    last = []
    for rate, steps in ((0.02, 100), (0.01, 200)):
        settings = drift.Drift(seeds=1, sizes=(2, 6, 3), steps=steps, points=4)
        told = drift.drifting(settings, "identity", rate)
        assert all(c <= b + 1e-12 for c, b in zip(told["change"][0], told["bound"][0], strict=True))
        last.append(told["drift"][0][-1])
    assert last[0] / last[1] == pytest.approx(2.0, rel=0.2)


def test_radial_starts_of_all_charges_compute_the_same():
    settings = radial.Radial()
    products = []
    for charge in (0.01, 10.0):
        problem, here = radial.start(settings, charge, 0)
        assert float(problem.conserved(here).sum()) == pytest.approx(charge)
        products.append(problem.product(here))
    assert_close(*products, rtol=1e3 * EPS, atol=1e3 * EPS)
