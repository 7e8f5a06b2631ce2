"""Figure 3.2: two minima, and a line between them on which the loss rises as high as one likes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss.connect import barrier, curve
from isoloss.connect.failures import (
    HomogeneousRegression,
    bounded_barrier,
    permuted_losses,
    unbounded_barrier,
    unbounded_barrier_permuted,
)
from isoloss.finding import find
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend, logarithmic, shade
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._network import FINDING
from isoloss.reproduce._runs import Each

POINTS = 101
"""Of every path."""


@dataclass(frozen=True)
class Interpolation(Settings):
    """Dissertation Section 3.3.2. The figure has no numbers; those of the networks built after the proofs are ours."""

    factors: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0)
    """m: the second minimum of the figure is (m, 1/m)."""
    heights: tuple[float, ...] = (1.0, 100.0, 10_000.0, 1_000_000.0)
    """b of Propositions 3.3.3 and 3.3.4."""
    degrees: tuple[float, ...] = (0.5, 1.0, 2.0)
    """k of the activation: 1 is a LeakyReLU."""
    hidden: int = 5
    """All permutations of so many units are tried."""


def scalar(settings: Interpolation, factor: float) -> dict[str, Any]:
    """The loss |Y - W_2 W_1 X| with X = Y = 1, on the line and on the curve from (1, 1) to (m, 1/m)."""
    one = torch.ones(1, 1, dtype=torch.float64)
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False, dtype=torch.float64) for _ in range(2)))
    a = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    b = {name: value * one for name, value in zip(a, (factor, 1 / factor), strict=True)}
    with FINDING:
        symmetries = find(model, one)

    def loss(point: dict[str, Tensor]) -> Tensor:
        return (1 - functional_call(model, point, (one,))).abs().squeeze()

    path = curve(a, b, symmetries)
    line, along = (barrier(a, b, loss, p, POINTS) for p in ("linear", path))
    points = torch.cat([w.flatten(1) for w in path(along.t).values()], 1)
    return {
        "t": line.t.tolist(),
        "line": line.losses.tolist(),
        "curve": along.losses.tolist(),
        "points": points.tolist(),
        "height": line.height,
    }


def built(settings: Interpolation, degree: float, height: float, seed: int) -> dict[str, Any]:
    """A random network and a second minimum, built so that the loss between them exceeds a height."""
    problem = HomogeneousRegression.random(
        hidden=settings.hidden, degree=degree, generator=torch.Generator().manual_seed(seed)
    )
    a, b = unbounded_barrier(problem, height)
    t = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    factor = float(b["first"].norm() / a["first"].norm())
    joined = max(float(problem(problem.moved(factor ** float(s)))) for s in t)
    _, far = unbounded_barrier_permuted(problem, height)
    squared = problem.target.square().sum()
    size = float((1 + (height / squared).sqrt()) * 2 ** (degree + 1))
    limit = 4 * max(float(w.norm()) for w in a.values())
    lengths = [limit / float(a["first"].norm()), (float(a["second"].norm()) / limit) ** (1 / degree)]
    return {
        "ends": float(max(problem(a), problem(b), problem(far))),
        "line": float(barrier(a, b, problem, n=POINTS).losses.max()),
        "curve": joined,
        "permuted": float(permuted_losses(problem, float(far["first"].norm() / a["first"].norm())).min()),
        "printed": float(problem.between(t, max((size - 1) ** degree, 1e-300)).max()),
        "bounded": float(max(problem.between(t, m).max() for m in lengths)),
        "bound": bounded_barrier(problem, limit),
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """Unbounded in the figure's example; above every height in the networks built after the proofs."""
    shown = sorted(((float(m), run) for m, run in results["scalar"].items()), key=lambda pair: pair[0])
    factors, heights = [m for m, _ in shown], [run["height"] for _, run in shown]
    closed = [(m + 1 / m - 2) / 4 for m in factors]
    runs = results["built"]
    above = [r["line"] > r["height"] for r in runs]
    permuted = [r["permuted"] > r["height"] for r in runs]
    tall = min(r["line"] / r["height"] for r in runs)
    still = max(max(run["curve"]) for _, run in shown)
    low = [r for r in runs if r["printed"] <= r["height"]]
    return [
        Finding(
            "the loss between two minima of |Y - W_2 W_1 X| is unbounded",
            bool(np.allclose(heights, closed, rtol=1e-9)) and heights == sorted(heights),
            f"largest loss {heights[0]:.3g} for m = {factors[0]:g} to {heights[-1]:.4g} for m = {factors[-1]:g}, "
            "equal to (m + 1/m - 2) / 4, which has no bound",
        ),
        Finding(
            "Proposition 3.3.3: for every b there are two minima with a loss above b between them",
            all(above) and all(r["ends"] < 1e-9 for r in runs),
            f"{sum(above)} of {len(runs)} networks with b up to {max(r['height'] for r in runs):g}; "
            f"the loss is at least {tall:.4f} b; at the ends at most {max(r['ends'] for r in runs):.1g}",
        ),
        Finding(
            "Proposition 3.3.4: also if the hidden units may be permuted",
            all(permuted),
            f"the least over all permutations exceeds b in {sum(permuted)} of {len(runs)} networks",
        ),
        Finding(
            "the two minima are joined by a curve of minima",
            still < 1e-9 and all(r["curve"] < 1e-9 for r in runs),
            f"largest loss on the curve of the group: {still:.1g} in the figure, "
            f"{max(r['curve'] for r in runs):.1g} in the networks",
        ),
        Finding(
            "the factor printed in the proof of Proposition 3.3.3 is large enough",
            not low,
            f"it is not in {len(low)} of {len(runs)} networks"
            + (
                f", all of degree {', '.join(sorted({format(r['degree'], 'g') for r in low}))}" if low else ""
            ),
            "control",
        ),
        Finding(
            "Proposition 3.3.6: among minima of bounded weights the loss between is bounded",
            all(r["bounded"] <= r["bound"] for r in runs),
            f"at most {max(r['bounded'] / r['bound'] for r in runs):.2g} of the bound",
            "control",
        ),
    ]


def plot(results: dict[str, Any]):
    """The plane of the weights, the loss on the way, its height against the distance, and the networks built."""
    figure, axes = canvas(2, 2, height=3.2)
    shown = {float(m): run for m, run in results["scalar"].items()}
    factors = sorted(shown)
    _panel_plane(figure, axes[0, 0], shown[next((m for m in factors if m >= 4), factors[-1])])
    for i, m in enumerate(drawn := [m for m in factors if m <= 16] or factors[:1]):
        axes[0, 1].plot(
            shown[m]["t"], shown[m]["line"], color=shade(i, len(drawn) + 1), label=f"line, m = {m:g}"
        )
    last = shown[drawn[-1]]
    axes[0, 1].plot(last["t"], last["curve"], "--", color="#c44e52", label="curves of the group, all m")
    axes[0, 1].set(xlabel="t", ylabel="loss $|Y - W_2 W_1 X|$", title="on the way")
    axes[0, 1].set_ylim(top=1.5 * max(last["line"]))
    legend(axes[0, 1], ncols=2, loc="upper center")
    m = np.geomspace(min(factors), max(factors), 100)
    axes[1, 0].plot(m, (m + 1 / m - 2) / 4, color="#777777", linewidth=0.9, label="$(m + 1/m - 2) / 4$")
    axes[1, 0].plot(
        factors, [shown[f]["height"] for f in factors], "o", color=color(0), label="largest loss on the line"
    )
    logarithmic(axes[1, 0], x=True, y=True)
    axes[1, 0].set(xlabel="m: the second minimum is (m, 1/m)", ylabel="loss", title="no bound")
    legend(axes[1, 0])
    _panel_built(axes[1, 1], results["built"])
    return figure


def _panel_plane(figure, axis, run: dict[str, Any]) -> None:
    """The level sets of the loss, two minima, the line and the curve."""
    curve = np.array(run["points"])
    wide, high = 1.12 * curve[:, 0].max(), 1.8 * curve[:, 1].max()
    first, second = np.linspace(0, wide, 200), np.linspace(0, high, 200)
    loss = np.abs(1 - np.outer(second, first))
    drawn = axis.pcolormesh(first, second, loss, cmap="Greys", vmax=1.5 * loss.max(), rasterized=True)
    axis.contour(first, second, loss, levels=8, colors="white", linewidths=0.5)
    figure.colorbar(drawn, ax=axis).set_label("loss", fontsize=8)
    axis.plot(curve[:, 0], curve[:, 1], color=color(3), linewidth=2, label="curve of the group")
    axis.plot(curve[[0, -1], 0], curve[[0, -1], 1], "--", color=color(0), label="line")
    axis.plot(curve[[0, -1], 0], curve[[0, -1], 1], "o", color="black", markersize=5, label="two minima")
    axis.set(
        xlabel="$W_1$",
        ylabel="$W_2$",
        xlim=(0, wide),
        ylim=(0, high),
        title="X = Y = 1, m = " + f"{curve[:, 0].max():g}",
    )
    axis.legend(fontsize=7, loc="upper right")


def _panel_built(axis, runs: list[dict[str, Any]]) -> None:
    """What was asked for, and what came out."""
    degrees = sorted({r["degree"] for r in runs})
    for i, degree in enumerate(degrees):
        mine = [r for r in runs if r["degree"] == degree]
        asked = [r["height"] * 1.25 ** (i - (len(degrees) - 1) / 2) for r in mine]
        style = {"color": color(i), "linestyle": "none", "markersize": 4}
        axis.plot(asked, [r["line"] for r in mine], "o", label=f"degree {degree:g}", **style)
        axis.plot(asked, [r["permuted"] for r in mine], "^", markerfacecolor="none", **style)
    asked = [min(r["height"] for r in runs), max(r["height"] for r in runs)]
    axis.plot(asked, asked, color="#777777", linewidth=0.9, linestyle="--", label="b")
    axis.plot([], [], "^", color="#777777", markerfacecolor="none", markersize=4, label="best permutation")
    logarithmic(axis, x=True, y=True)
    axis.set(xlabel="b asked for", ylabel="loss between the minima", title="Propositions 3.3.3 and 3.3.4")
    legend(axis)


@experiment(
    "interpolation",
    shows="Figure 3.2",
    paper="Dissertation, Section 3.3.2 and Propositions 3.3.3 and 3.3.4",
    claim="In networks with a homogeneous activation between the last two layers the loss on the line between two "
    "minima of one connected component can be arbitrarily high, also up to permutations of hidden units; the figure "
    "shows it for a two-layer network with weights that are numbers.",
    settings=Interpolation,
    quick={},
    judge=judge,
    plot=plot,
)
def interpolation(settings: Interpolation, each: Each) -> dict[str, Any]:
    """The figure's example, and random networks of every degree for every height."""
    shown = each(scalar, [{"factor": m} for m in settings.factors])
    cases = [
        {"degree": k, "height": b, "seed": s}
        for k in settings.degrees
        for b in settings.heights
        for s in range(settings.seeds)
    ]
    networks = [case | run for case, run in zip(cases, each(built, cases), strict=True)]
    return {
        "scalar": {str(m): run for m, run in zip(settings.factors, shown, strict=True)},
        "built": networks,
    }
