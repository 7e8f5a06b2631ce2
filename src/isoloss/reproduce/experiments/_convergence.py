"""Figure 4.7: the speedup of one teleport, for every number of ascent steps and every rate of the ascent."""

import math
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from isoloss.reproduce._ascent import ascend, gradient_norm
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, legend, logarithmic, shade
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import put_
from isoloss.reproduce.experiments._shared_regression import ACTIONS, LONGEST, optimizer, problem, squares

AS_LOW = 1.1
"""Of the loss at which the shared rate converges, what a tuned rate may stop at."""


@dataclass(frozen=True)
class Convergence(Settings):
    """Dissertation Section 4.6.2."""

    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    rates: tuple[float, ...] = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
    gd_rate: float = 1e-4
    adagrad_rate: float = 1e-1
    teleport_at: int = 5
    most: int = 2000
    """Steps after which a run counts as not converged."""
    difference: float = 1e-3
    """Of the losses of two steps in a row, at which it counts as converged."""


def converge(
    settings: Convergence,
    optimizer_name: str,
    rate: float,
    seed: int,
    variant: str,
    steps: int,
    teleport: float,
) -> dict[str, Any]:
    """Train until convergence; variant "none" does not teleport."""
    task = problem(seed)
    chosen = optimizer(optimizer_name, task, rate)
    since, before, loss = time.process_time(), math.inf, math.inf
    for step in range(settings.most):
        if step == settings.teleport_at and variant != "none":
            objective = gradient_norm(squares, task.x, task.y)
            longest = torch.inf if variant == "published" else LONGEST
            found = ascend(
                ACTIONS[variant], task.weights, task.x, objective, steps=steps, rate=teleport, longest=longest
            )
            put_(task.model, found.weights)
        chosen.zero_grad()
        value = task.loss()
        value.backward()
        chosen.step()
        before, loss = loss, value.item()
        if not math.isfinite(loss) or abs(loss - before) < settings.difference:
            break
    converged = math.isfinite(loss) and abs(loss - before) < settings.difference
    seconds = time.process_time() - since
    return {"converged": converged, "steps": step + 1, "seconds": seconds, "loss": loss}


def judge(results: dict[str, Any]) -> list[Finding]:
    """Most combinations that converge are faster; also with the exact action, and against a tuned rate?"""
    findings = []
    for name, told in results["optimizers"].items():
        for variant, cells in told["cells"].items():
            kind = "paper" if variant == "published" else "control"
            done = [c for c in cells if c["speedup"] is not None]
            faster = [c for c in done if c["speedup"] > 1]
            fewer = [c for c in done if c["steps_ratio"] > 1]
            findings.append(
                Finding(
                    f"{name}, {variant} teleport: most combinations that converge do so in less time",
                    len(faster) > len(done) / 2 if done else None,
                    f"{len(faster)} of {len(done)} that converged ({len(cells)} tried), speedup "
                    f"{_finding_range([c['speedup'] for c in done])}; in fewer steps: {len(fewer)}; loss at "
                    f"convergence over that without: {_finding_range([c['loss_ratio'] for c in done])}",
                    kind,
                )
            )
            best = max((c["speedup"] for c in done), default=0.0)
            tuned = told["tuned"]
            findings.append(
                Finding(
                    f"{name}, {variant} teleport: the best combination is faster than {name} at its own best rate",
                    bool(best > tuned["speedup"]),
                    f"best speedup {best:.2f} at the shared rate; {name} alone at rate {tuned['rate']:g}: "
                    f"{tuned['speedup']:.2f}, at a loss of {tuned['loss_ratio']:.2g} times",
                    "control",
                )
            )
    return findings


def _finding_range(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "none"


def plot(results: dict[str, Any]):
    """Speedup against the rate, a line per number of steps; and against the number of steps, a line per rate."""
    optimizers = results["optimizers"]
    variants = list(next(iter(optimizers.values()))["cells"])
    figure, axes = canvas(len(optimizers), 2 * len(variants), width=3.8)
    words = {"teleport": "rate of the ascent", "steps": "steps of the ascent"}
    for row, (name, told) in zip(axes, optimizers.items(), strict=True):
        speedups = [c["speedup"] for of in told["cells"].values() for c in of if c["speedup"]]
        tuned = told["tuned"]["speedup"] or 1.0
        low, high = min([1.0, *speedups]) / 1.3, max([tuned, 1.0, *speedups]) * 1.3
        for j, variant in enumerate(variants):
            pair = row[2 * j : 2 * j + 2]
            for axis, (along, lines) in zip(
                pair, (("teleport", "steps"), ("steps", "teleport")), strict=True
            ):
                _panel_speedups(axis, told["cells"][variant], along, lines)
                axis.axhline(1.0, color="#777777", linewidth=0.8, linestyle="--")
                axis.axhline(tuned, color="#777777", linewidth=0.8, linestyle=":")
                axis.set_ylim(low, high)
                axis.set(xlabel=words[along], ylabel="speedup", title=f"{name}, {variant} teleport")
                axis.annotate(
                    f"no teleport, rate {told['tuned']['rate']:.2g}",
                    (0.02, tuned),
                    (0, -9),
                    xycoords=axis.get_yaxis_transform(),
                    textcoords="offset points",
                    fontsize=7,
                )
    for k, lines in ((0, "steps"), (1, "teleport")):
        legend(
            axes[0, k],
            title=words[lines],
            title_fontsize=7,
            ncols=3,
            bbox_to_anchor=(1, 0.9),
            loc="upper right",
        )
    return figure


def _panel_speedups(axis, cells: list[dict[str, Any]], along: str, lines: str) -> None:
    """A line for every value of `lines`, from dark to light; combinations that do not converge are left out."""
    values, tried = (sorted({c[key] for c in cells}) for key in (lines, along))
    for i, value in enumerate(values):
        points = sorted((c[along], c["speedup"]) for c in cells if c[lines] == value and c["speedup"])
        x, y = [p[0] for p in points], [p[1] for p in points]
        axis.plot(x, y, "o-", markersize=3, linewidth=1.2, color=shade(i, len(values)), label=f"{value:g}")
    axis.set_xscale("log")
    logarithmic(axis, y=True)
    axis.set_xticks(tried, [f"{v:g}" for v in tried])
    axis.set_xticks([], minor=True)
    axis.set_xlim(min(tried) / 1.5, max(tried) * 1.5)


@experiment(
    "convergence",
    shows="Figure 4.7",
    paper="Dissertation, Section 4.6.2; Zhao et al. (2022), Figure 4",
    claim="When training converges, most combinations of the number of ascent steps and their rate improve the time to "
    "convergence, with gradient descent and with AdaGrad.",
    settings=Convergence,
    quick={"seeds": 3},
    judge=judge,
    plot=plot,
    timed=True,
)
def convergence(settings: Convergence, each: Each) -> dict[str, Any]:
    """Every combination against no teleport, and no teleport at other learning rates."""
    return {
        "optimizers": {
            "GD": _optimizer("GD", settings.gd_rate, settings, each),
            "AdaGrad": _optimizer("AdaGrad", settings.adagrad_rate, settings, each),
        }
    }


def _optimizer(name: str, rate: float, settings: Convergence, each: Each) -> dict[str, Any]:
    seeds = range(settings.seeds)

    def runs(variant: str, steps: int, teleport: float, rate: float) -> list[dict[str, Any]]:
        case = {
            "optimizer_name": name,
            "rate": rate,
            "variant": variant,
            "steps": steps,
            "teleport": teleport,
        }
        return each(converge, [case | {"seed": s} for s in seeds])

    plain = runs("none", 0, 0.0, rate)
    cells = {
        variant: [
            {"steps": n, "teleport": r} | _against(runs(variant, n, r, rate), plain)
            for n in settings.steps
            for r in settings.rates
        ]
        for variant in ACTIONS
    }
    others = [rate * 10 ** (k / 4) for k in range(-2, 7)]
    tuned = [{"rate": r} | _against(runs("none", 0, 0.0, r), plain) for r in others]
    # A larger rate can stop sooner because it stops higher; that is no speedup.
    as_low = [t for t in tuned if (t["loss_ratio"] or math.inf) <= AS_LOW]
    fastest = max(
        as_low, key=lambda t: t["speedup"] or 0.0, default={"rate": rate, "speedup": 1.0, "loss_ratio": 1.0}
    )
    return {"cells": cells, "tuned": fastest, "sweep": tuned}


def _against(ours: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, float | None]:
    """Medians over the seeds; None unless every seed converged."""
    if not all(run["converged"] for run in (*ours, *plain)):
        return {"speedup": None, "steps_ratio": None, "loss_ratio": None}
    pairs = list(zip(ours, plain, strict=True))
    return {
        "speedup": median(p["seconds"] / o["seconds"] for o, p in pairs),
        "steps_ratio": median(p["steps"] / o["steps"] for o, p in pairs),
        "loss_ratio": median(o["loss"] / p["loss"] for o, p in pairs),
    }
