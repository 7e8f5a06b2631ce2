"""Verdicts on components, lines and curves follow from the numbers; the surfaces and networks behind them."""

import numpy as np
import pytest
import torch

from isoloss.reproduce import overall
from isoloss.reproduce.experiments import _components as components
from isoloss.reproduce.experiments import _curves as curves
from isoloss.reproduce.experiments import _interpolation as interpolation


def holds(findings, start):
    chosen = [f.holds for f in findings if f.statement.startswith(start)]
    assert chosen, start
    return chosen


def counted(**changes):
    linear = [
        {
            "layers": layers,
            "width": width,
            "there": 1e-12,
            "back": 1e-12,
            "loss": 1e-20,
            "curve": 1e-20,
            "count": 2 ** (layers - 1),
            "separated": 2 ** (layers - 1),
            "chords": 2 ** (layers - 1),
            "pairs": 10,
            "connected": 4,
            "permuted": 10,
        }
        | changes
        for layers in (2, 3)
        for width in (1, 2)
    ]
    residual = [
        {"skip": skip, "width": width, "count": n, "separated": n}
        for skip, width, n in ((0.0, 1, 4), (1.0, 1, 3), (1.0, 2, 2))
    ]
    shown = {"0.0": {"count": 4, "separated": 4}, "1.0": {"count": 3, "separated": 3}}
    return {"linear": linear, "residual": residual, "surfaces": shown}


def test_components_are_counted_exactly():
    found = components.judge(counted())
    assert overall(found) == "reproduced"
    assert holds(found, "wider residual networks have 3") == [False]
    assert holds(found, "Corollary 3.2.2, without the group") == [True]
    assert holds(components.judge(counted(there=0.1)), "Proposition 3.2.1") == [False]
    assert holds(components.judge(counted(count=1)), "Corollary 3.2.2: they have") == [False]
    assert holds(components.judge(counted(separated=5)), "Corollary 3.2.2: they have") == [False]
    assert holds(components.judge(counted(permuted=9)), "Proposition 3.3.2") == [False]


def test_a_path_that_was_not_found_leaves_the_count_open():
    found = components.judge(counted(chords=9))
    assert holds(found, "Corollary 3.2.2, without the group") == [None]
    assert holds(components.judge(counted(count=5)), "Corollary 3.2.2: they have") == [None]
    results = counted()
    results["residual"][1]["count"] = 4
    assert holds(components.judge(results), "Proposition 3.2.3: with it") == [None]
    results["residual"][1]["separated"] = 4
    assert holds(components.judge(results), "Proposition 3.2.3: with it") == [False]
    results["surfaces"]["0.0"]["count"] = 3
    assert holds(components.judge(results), "Proposition 3.2.3: without") == [False]


@pytest.mark.parametrize(
    ("skip", "sheets"), [(0.0, {(1, 1), (1, -1), (-1, 1), (-1, -1)}), (1.0, {(1, 1), (-1, 1)})]
)
def test_sheets_are_the_minimum(skip, sheets):
    """Every grid lies on the surface and in the box; without the skip connection every quadrant has one."""
    found = components._panel_sheets(skip)
    for first, second, third in found:
        np.testing.assert_allclose(third * (first * second + skip), 1.0, rtol=1e-9)
        assert max(np.abs(of).max() for of in (first, second, third)) <= components.BOX * (1 + 1e-9)
    signs = {
        (int(np.sign(a.mean())), int(np.sign(c.mean()))) for a, _, c in found if c.mean() > 0 or skip == 0
    }
    assert signs == sheets and len(found) == 4


def test_curves_of_the_count_lead_from_the_first_minimum_of_a_component():
    problem = components.LinearRegression(torch.eye(2).double(), torch.eye(2).double(), 2)
    points = problem.sample(12, torch.Generator().manual_seed(0))
    i, j = torch.triu_indices(12, 12, 1)
    worst = []
    found = components._star(problem, points[i], points[j], worst)
    signs = problem.invariant(points)[:, 0].tolist()
    first = {signs.index(1), signs.index(-1)}
    assert {int(a) for a in i[found]} <= first
    assert int(found.sum()) == len(worst) == 12 - len(first) and max(worst) < 1e-9


def test_interpolation_needs_every_height():
    def results(**changes):
        run = {"height": 5.0, "degree": 0.5, "line": 6.0, "permuted": 7.0, "ends": 0.0, "curve": 0.0}
        run |= {"printed": 1.0, "bounded": 1.0, "bound": 2.0} | changes
        shown = {str(m): {"height": (m + 1 / m - 2) / 4, "curve": [0.0]} for m in (2.0, 4.0)}
        return {"scalar": shown, "built": [run]}

    found = interpolation.judge(results())
    assert overall(found) == "reproduced"
    assert holds(found, "the factor printed in the proof") == [False]
    assert holds(interpolation.judge(results(printed=9.0)), "the factor printed in the proof") == [True]
    assert holds(interpolation.judge(results(line=4.0)), "Proposition 3.3.3") == [False]
    assert holds(interpolation.judge(results(permuted=4.0)), "Proposition 3.3.4") == [False]
    assert holds(interpolation.judge(results(curve=0.1)), "the two minima are joined") == [False]
    assert holds(interpolation.judge(results(bounded=3.0)), "Proposition 3.3.6") == [False]


def test_the_line_between_numbers_has_a_closed_form():
    told = interpolation.scalar(interpolation.Interpolation(), 8.0)
    t = np.array(told["t"])
    expected = np.abs(1 - (1 + 7 * t) * (1 - 7 / 8 * t))
    np.testing.assert_allclose(told["line"], expected, atol=1e-12)
    np.testing.assert_allclose(np.prod(told["points"], 1), 1.0, rtol=1e-12)
    assert max(told["curve"]) < 1e-12 and told["points"][-1] == pytest.approx([8.0, 0.125])


def panels(low=0.0, high=1.0, rise=0.0, distance=1.0):
    def run(seed, size):
        factor = 1 + 0.01 * seed
        line = [[0.0, high * size * factor, 0.0]] * 2
        gamma = [[0.0, low * size * factor + rise, 0.0]] * 2
        return {
            "start": 0.0,
            "norm": 10.0,
            "distance": [distance * size * factor] * 2,
            "line": line,
            "curve": gamma,
            "curve, other data": gamma,
            "difference, other data": gamma,
        }

    return {
        name: {"batch": batch, "size": size, "width": 32, "runs": [run(s, size) for s in range(3)]}
        for name, (batch, size) in zip("bcde", ((8, 1.0), (8, 2.0), (64, 1.0), (64, 2.0)), strict=True)
    }


NETWORKS = [
    {"dimensions": [3, 10, 4, 5], "norm": 2.0, "change": 1e-12, "refitted": 0.0, "descent": 0.5},
    {"dimensions": [3, 5, 4, 10], "norm": 2.0, "change": 1.0, "refitted": 1.5, "descent": 0.5},
]


def test_curves_must_stay_below_the_line_and_the_bound():
    found = curves.judge({"networks": NETWORKS, "panels": panels(low=0.1)})
    assert overall(found) == "reproduced"
    assert holds(found, "(a) the bound says something about the group") == [False]
    assert holds(found, "(b) 8 samples, size 1: the loss on γ is that of the start") == [False]
    found = curves.judge({"networks": NETWORKS, "panels": panels(low=2.0)})
    assert holds(found, "(b) 8 samples, size 1: the loss on γ is lower") == [False]
    assert holds(found, "(c) 8 samples, size 2: the largest loss on γ is lower") == [False]
    wrong = [NETWORKS[0], NETWORKS[1] | {"change": 2.1}]
    found = curves.judge({"networks": wrong, "panels": panels(low=0.1)})
    assert holds(found, "(a) ‖Uσ(VX)") == [False]


def test_the_bound_of_a_network_is_the_norm_of_its_outputs():
    settings = curves.Curves(least=4, most=30, steps=20)
    for seed in range(6):
        told = curves.network(settings, seed)
        _, h, _, k = told["dimensions"]
        assert told["change"] <= told["norm"] * (1 + 1e-12) and told["descent"] < 1
        assert (told["change"] < 1e-6 * told["norm"]) == (k <= h)


def test_paths_start_at_a_minimum_and_lines_join_the_ends_of_curves():
    settings = curves.Curves(widths=(5, 8, 3), curves=2, curve_steps=400, points=5)
    told = curves.paths(settings, batch=4, size=1.0, seed=0)
    assert told["start"] < 1e-3 * told["norm"]
    for along, line in zip(told["curve"], told["line"], strict=True):
        assert along[0] == pytest.approx(line[0], abs=1e-9) and along[-1] == pytest.approx(line[-1], abs=1e-9)
        assert max(along) - told["start"] < 1e-9 < max(line)
