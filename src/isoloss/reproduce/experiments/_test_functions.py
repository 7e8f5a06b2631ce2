"""Figures 4.3 and 4.4: gradient descent with teleports on the Rosenbrock and the Booth function."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch

from isoloss._sweep import sweep
from isoloss.problems import BOOTH, ROSENBROCK, Ascent
from isoloss.problems import Run as Published
from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, curve, logarithmic, outside, panel_sweep
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

PUBLISHED = {"rosenbrock": ROSENBROCK, "booth": BOOTH}
CONTENDERS = ("descent", "teleport", "random rotation")
REACHED = {"rosenbrock": 1e-2, "booth": 1e-1}
"""A loss that has been reached when the paper's figure shows convergence."""


ROUNDING = 1e-6
"""Relative change of the loss that counts as none: near the minimum the loss is a sum of squares of differences that
cancel, and its relative error is eps / sqrt(loss)."""


@dataclass(frozen=True)
class TestFunction(Settings):
    """Dissertation Section 4.6.1: one starting point; the seeds draw where the ascent on the rotation starts."""

    __test__ = False  # not for pytest

    seeds: int = 100
    steps: int | None = None
    """Steps of descent; None for the published number."""


def trajectories(settings: TestFunction, function: str, contender: str, rate: float) -> dict[str, Any]:
    """All seeds at one rate, together."""
    run: Published = replace(PUBLISHED[function], lr=rate)
    if settings.steps is not None:
        run = replace(run, steps=settings.steps, jumps=frozenset(j for j in run.jumps if j < settings.steps))
    if contender == "descent":
        found = run.plain()
        losses, gradients = found.losses[:-1, None], found.squared_gradients[:-1, None]
    else:
        found = run.teleported(
            settings.seeds, teleport=Ascent(steps=0) if contender == "random rotation" else None
        )
        losses, gradients = found.losses[:-1], found.squared_gradients[:-1]
    full = rate == PUBLISHED[function].lr
    shown = slice(0, 5) if full else slice(0, 0)
    finite = torch.where(losses[-1].isfinite(), losses[-1], torch.inf)
    return {
        "finals": finite.tolist(),
        "reached": (losses <= REACHED[function]).int().argmax(0).tolist(),
        "ever": (losses <= REACHED[function]).any(0).tolist(),
        "losses": losses.T[shown].tolist(),
        "gradients": gradients.T[shown].tolist(),
        "points": found.points[:-1, 0].tolist() if contender != "descent" else found.points[:-1].tolist(),
        "jumps": list(found.jumps),
        "gains": found.gains.flatten().tolist(),
        "change": found.changes.abs().amax().item() if found.changes.numel() else 0.0,
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """Lower loss, larger gradient at the same loss; and at everybody's best rate, and against random rotations."""
    shared, best = results["shared"], results["best"]

    def paired(at: dict[str, Any], ours: str, theirs: str):
        a, b = at[ours]["finals"], at[theirs]["finals"]
        return compare(a, b * len(a) if len(b) == 1 else b)

    tele, plain = shared["teleport"], shared["descent"]
    final = paired(shared, "teleport", "descent")
    share = np.mean([a < plain["finals"][0] for a in _numbers(tele["finals"])])
    steps = [r for r, ever in zip(tele["reached"], tele["ever"], strict=True) if ever]
    steps_text = f"{median(steps):g} steps in the median" if steps else "never"
    mine, others = paired(best, "teleport", "descent"), paired(best, "teleport", "random rotation")
    rates = ", ".join(f"{name} {best[name]['rate']:g}" for name in CONTENDERS)
    ratio = _finding_gradient_ratio(tele, plain)
    control = paired(shared, "teleport", "random rotation")
    return [
        Finding(
            "teleports reach a lower loss at the paper's rate",
            bool(share > 0.95),
            f"median final loss {median(_numbers(tele['finals'])):.2g} (worst {max(_numbers(tele['finals'])):.2g}) "
            f"against {plain['finals'][0]:.2g}; lower in {share:.0%} of {len(tele['finals'])} seeds; {final}; "
            f"a loss of {results['reached']:g} after {steps_text}, without: "
            f"{plain['reached'][0] if plain['ever'][0] else 'never'}",
        ),
        Finding(
            "at the same loss the gradient is larger on the teleported trajectory",
            bool(ratio > 1) if ratio is not None else None,
            "no common losses"
            if ratio is None
            else f"gradient norm {ratio:.2g} times when a loss is first passed, "
            f"median over 50 losses and the seeds; at the jumps the squared norm grows "
            f"{median(_numbers(tele['gains'])):.3g} times (median)",
        ),
        Finding(
            "the loss stays at the jump",
            tele["change"] < ROUNDING,
            f"largest relative change {tele['change']:.1e} (float64)",
        ),
        Finding(
            "teleports reach a lower loss, each at its own best rate",
            mine.lower,
            f"{rates}: {mine}",
            "control",
        ),
        Finding(
            "teleports end lower than random rotations at the paper's rate",
            control.lower,
            str(control),
            "control",
        ),
        Finding(
            "teleports end lower than random rotations, each at its own best",
            others.lower,
            str(others),
            "control",
        ),
    ]


def _numbers(values: list[float | None]) -> list[float]:
    return [np.inf if v is None else v for v in values]


def _finding_gradient_ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> float | None:
    """The gradient norm with which losses are passed, against that of plain descent: median over losses and seeds."""
    plain = np.array(theirs["losses"][0], dtype=float)
    jump = min(ours["jumps"][0], len(plain) - 1)
    levels = np.geomspace(plain[jump], plain[-1], 52)[1:-1]
    base = _finding_passing(plain, np.array(theirs["gradients"][0], dtype=float), levels)
    ratios = [
        np.sqrt(
            _finding_passing(np.array(x, dtype=float)[jump:], np.array(y, dtype=float)[jump:], levels) / base
        )
        for x, y in zip(ours["losses"], ours["gradients"], strict=True)
    ]
    known = np.concatenate(ratios)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else None


def _finding_passing(losses: np.ndarray, squares: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The squared gradient at the step that first goes below each loss; nan if none does."""
    below = losses[None] <= levels[:, None]
    step = np.maximum(below.argmax(1) - 1, 0)
    return np.where(below.any(1), squares[step], np.nan)


def plot(results: dict[str, Any]):
    """Trajectory, loss, gradient against loss, sweep."""
    figure, axes = canvas(1, 4, width=3.6)
    shared = results["shared"]
    path, steps, slopes, rates = axes[0]
    # Plain descent last, so that the others do not hide it.
    for i, name in reversed(list(enumerate(CONTENDERS))):
        run = shared[name]
        points = np.array(run["points"], dtype=float)
        path.plot(points[:, 0], points[:, 1], ".-", markersize=3, linewidth=0.6, color=color(i))
        if run["jumps"]:
            start = points[[j - 1 for j in run["jumps"]]]
            path.plot(start[:, 0], start[:, 1], "o", markersize=5, mfc="none", color=color(i))
        for losses, gradients in zip(run["losses"], run["gradients"], strict=True):
            slopes.plot(
                losses,
                np.sqrt(np.array(gradients, dtype=float)),
                color=color(i),
                linewidth=0.8,
                alpha=1.0 if name == "descent" else 0.6,
            )
    for i, name in enumerate(CONTENDERS):
        curve(steps, range(len(shared[name]["losses"][0])), shared[name]["losses"], name, i)
    path.plot(*results["minimizer"], "k*", markersize=9)
    path.set(xlabel="$x_1$", ylabel="$x_2$", title="trajectories (ring: jump, star: minimum)")
    logarithmic(steps, y=True)
    steps.set(xlabel="step", ylabel="loss", title="loss (median and range of 5 seeds)")
    logarithmic(slopes, x=True, y=True)
    slopes.set(xlabel="loss", ylabel="gradient norm", title="gradient at the same loss (5 seeds)")
    told = {
        name: [(p["rate"], np.nan if p["median"] is None else p["median"]) for p in of]
        for name, of in results["sweep"].items()
    }
    best = {name: results["best"][name]["rate"] for name in CONTENDERS}
    panel_sweep(rates, told, shared["descent"]["rate"], best)
    rates.set(ylabel="final loss (median)", title="sweep of the learning rate")
    outside(rates, rates, {name: f"{name}\n(best {best[name]:g})" for name in CONTENDERS})
    return figure


def _study(function: str, settings: TestFunction, each: Each) -> dict[str, Any]:
    published = PUBLISHED[function]

    def evaluate(pairs: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
        return each(trajectories, [{"function": function, "contender": c, "rate": r} for c, r in pairs])

    def score(told: dict[str, Any]) -> tuple[bool, float]:
        return None in told["finals"], float(np.median(_numbers(told["finals"])))

    # The best rate is one at which no seed diverges, if there is one.
    found, best = sweep(CONTENDERS, published.lr, evaluate, score, range(-2, 4), refinements=3)
    return {
        "reached": REACHED[function],
        "minimizer": published.problem.minimizer.tolist(),
        "shared": {name: found[name][published.lr] | {"rate": published.lr} for name in CONTENDERS},
        "best": {
            name: {"finals": found[name][best[name]]["finals"], "rate": best[name]} for name in CONTENDERS
        },
        "sweep": {
            name: [{"rate": r, "median": score(of[r])[1]} for r in sorted(of)] for name, of in found.items()
        },
    }


def _define(function: str, shows: str, claim: str):
    @experiment(
        function,
        shows=shows,
        paper="Dissertation, Section 4.6.1; Zhao et al. (2022), Figure 2",
        claim=claim,
        settings=TestFunction,
        quick={},
        judge=judge,
        plot=plot,
    )
    def study(settings: TestFunction, each: Each) -> dict[str, Any]:
        return _study(function, settings, each)

    return study


rosenbrock = _define(
    "rosenbrock",
    "Figures 4.3 and 4.4, Rosenbrock",
    "With a teleport every 100 steps gradient descent reaches the minimum of the Rosenbrock function in 1000 steps, "
    "which it does not without; at the same loss its gradient is larger.",
)
booth = _define(
    "booth",
    "Figures 4.3 and 4.4, Booth",
    "One teleport before step 5 of 10 leads gradient descent on the Booth function to a lower loss; at the same loss "
    "its gradient is larger.",
)
