"""Figure 4.9: how the time of gradient descent with teleports grows with the width and with the depth."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isoloss.dependent import teleport_
from isoloss.reproduce._actions import First
from isoloss.reproduce._ascent import ascend, gradient_norm
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._network import Perceptron, symmetries
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import put_
from isoloss.teleport import GradientNorm, Teleport, always

CONTENDERS = ("descent", "published", "isoloss", "scalings")
LARGE = 64
"""From this width on the exponent is fitted; below, the overhead of every call dominates."""


@dataclass(frozen=True)
class Runtime(Settings):
    """Dissertation Section 4.6.4; the dimensions of the figure are not in the text."""

    seeds: int = 3
    epochs: int = 300
    every: int = 10
    steps: int = 10
    dimensions: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    layers: tuple[int, ...] = (2, 4, 6, 8, 10)
    layer_dimension: int = 128


def measure(settings: Runtime, contender: str, dimension: int, layers: int, seed: int) -> dict[str, float]:
    """Seconds of descent, and those of it spent on teleports."""
    generator = torch.Generator().manual_seed(seed)
    model = Perceptron([dimension] * (layers + 1), generator)
    x, y = (torch.rand(dimension, dimension, dtype=torch.float32, generator=generator) for _ in range(2))
    chosen = torch.optim.SGD(model.parameters(), lr=1e-4)

    def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (outputs - y).square().mean()

    known = symmetries(model)
    companion = None
    if contender == "scalings":
        companion = Teleport(chosen, known, GradientNorm(), always, radius=1e-3)
    action = First("exact")
    moving, since = 0.0, time.process_time()
    for epoch in range(settings.epochs):
        teleports = epoch % settings.every == 0
        if teleports and contender == "published":
            start = time.process_time()
            weights = tuple(w.detach().clone() for w in model.weights)
            # The rate is small: this measures time, and the weights are to stay finite.
            objective = gradient_norm(loss, x, y)
            put_(
                model,
                ascend(action, weights, x, objective, steps=settings.steps, rate=1e-12, longest=1e-6).weights,
            )
            moving += time.process_time() - start
        if teleports and contender == "isoloss":
            start = time.process_time()
            teleport_(known, lambda: loss(model(x), y), steps=settings.steps, radius=1e-3)
            moving += time.process_time() - start
        chosen.zero_grad()
        loss(model(x), y).backward()
        if teleports and companion is not None:
            start = time.process_time()
            companion.step()
            moving += time.process_time() - start
        chosen.step()
    return {"seconds": time.process_time() - since, "moving": moving}


def fit(x: list[float], y: list[float]) -> dict[str, float]:
    """The exponent b of y = a x^b by least squares on the logarithms, with its R squared."""
    lx, ly = np.log(x), np.log(y)
    slope, intercept = np.polyfit(lx, ly, 1)
    residual = ly - slope * lx - intercept
    return {"exponent": float(slope), "r2": float(1 - residual.var() / max(ly.var(), 1e-300))}


def judge(results: dict[str, Any]) -> list[Finding]:
    """Polynomial in the dimension, linear in the number of layers."""
    fits = results["fits"]
    wide, deep = fits["published"]["dimension"], fits["published"]["layers"]
    cheap = results["steps"]
    return [
        Finding(
            "the time grows polynomially with the dimension, with an exponent of at most 3",
            wide["exponent"] < 3.2 and wide["r2"] > 0.9,
            _finding_fits(fits, "dimension", f"fitted from {LARGE} on"),
        ),
        Finding(
            "the time grows linearly with the number of layers",
            0.75 < deep["exponent"] < 1.25 and deep["r2"] > 0.95,
            _finding_fits(fits, "layers", "against the number of pairs of layers"),
        ),
        Finding(
            "the time is dominated by the teleports",
            cheap["published"]["share"] > 0.5,
            f"{cheap['published']['share']:.0%} of the time at the largest dimension",
        ),
        Finding(
            "isoloss's data-dependent teleport is cheaper than the published one",
            cheap["published"]["steps"] > cheap["isoloss"]["steps"],
            f"in gradient steps at the largest dimension: published {cheap['published']['steps']:.0f}, isoloss "
            f"{cheap['isoloss']['steps']:.1f}",
            "control",
        ),
        Finding(
            "a teleport along exact scalings costs less than a gradient step",
            cheap["scalings"]["steps"] < 1,
            f"in gradient steps at the largest dimension: published {cheap['published']['steps']:.0f}, scalings "
            f"{cheap['scalings']['steps']:.2f}",
            "control",
        ),
    ]


def _finding_fits(fits: dict[str, Any], along: str, how: str) -> str:
    texts = [f"{name} {of[along]['exponent']:.2f} (R² {of[along]['r2']:.3f})" for name, of in fits.items()]
    return f"exponents {how}: {', '.join(texts)}"


def plot(results: dict[str, Any]):
    """Seconds against the dimension and against the number of layers."""
    figure, axes = canvas(1, 2)
    for axis, along in zip(axes[0], ("dimension", "layers"), strict=True):
        for i, name in enumerate(CONTENDERS):
            points = results["times"][name][along]
            fitted = results["fits"][name][along]["exponent"]
            label = f"{name}: exponent {fitted:.2f}"
            axis.plot(points["x"], points["seconds"], "o-", markersize=3, color=color(i), label=label)
        logarithmic(axis, y=True)
        # Room for the legend.
        axis.set_ylim(top=8 * axis.get_ylim()[1])
        legend(axis, ncols=2, loc="upper left")
        axis.set_ylabel("seconds")
    wide, deep = axes[0]
    wide.set(xscale="log", xlabel="dimension of the matrices", title=f"three layers; fitted from {LARGE} on")
    deep.set(xlabel="layers", title="fitted against the pairs of layers")
    sizes = results["times"]["descent"]["dimension"]["x"]
    wide.set_xticks(sizes, [f"{v}" for v in sizes])
    wide.set_xticks([], minor=True)
    return figure


@experiment(
    "runtime",
    shows="Figure 4.9",
    paper="Dissertation, Section 4.6.4; Zhao et al. (2022), Figure 6",
    claim="The time of gradient descent with a 10-step teleport every 10 epochs grows polynomially with the dimension "
    "of the matrices and linearly with the number of layers; teleports dominate it.",
    settings=Runtime,
    quick={"seeds": 2, "epochs": 20, "dimensions": (16, 32, 64, 128, 192), "layer_dimension": 64},
    judge=judge,
    plot=plot,
    timed=True,
)
def runtime(settings: Runtime, each: Each) -> dict[str, Any]:
    """The least time of the seeds, for every size."""
    sweeps = {
        "dimension": [{"dimension": d, "layers": 3} for d in settings.dimensions],
        "layers": [{"dimension": settings.layer_dimension, "layers": n} for n in settings.layers],
    }
    times, fits = {}, {}
    for name in CONTENDERS:
        times[name], fits[name] = {}, {}
        for along, sizes in sweeps.items():
            cases = [size | {"contender": name, "seed": s} for size in sizes for s in range(settings.seeds)]
            runs = each(measure, cases)
            n = settings.seeds
            least = [min(runs[i : i + n], key=lambda run: run["seconds"]) for i in range(0, len(runs), n)]
            x = [size[along] for size in sizes]
            times[name][along] = {
                "x": x,
                **{key: [run[key] for run in least] for key in ("seconds", "moving")},
            }
            seconds = times[name][along]["seconds"]
            if along == "layers":
                fits[name][along] = fit([v - 1 for v in x], seconds)
            else:
                large = [i for i, v in enumerate(x) if v >= LARGE] or list(range(len(x)))
                fits[name][along] = fit([x[i] for i in large], [seconds[i] for i in large])
    return {"times": times, "fits": fits, "steps": _steps(settings, times)}


def _steps(settings: Runtime, times: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What a teleport costs in gradient steps, and its share of the time, at the largest dimension."""
    step = times["descent"]["dimension"]["seconds"][-1] / settings.epochs
    number = len(range(0, settings.epochs, settings.every))
    told = {}
    for name in CONTENDERS[1:]:
        moving, seconds = (times[name]["dimension"][key][-1] for key in ("moving", "seconds"))
        told[name] = {"steps": moving / number / step, "share": moving / seconds}
    return told
