"""Figures 2.2 and 2.3: the distribution of the conserved quantity at Xavier initialization."""

from dataclasses import dataclass
from typing import Any

import torch

from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_two_layers import (
    LABELS,
    U,
    V,
    check_activations,
    elementwise,
    moved,
)

SURE = 0.01
"""The p-value below which two shapes differ."""

SMALL = 0.1
"""A standard deviation of this share of what moves of one set reach is a small range."""

MISMATCH = 4.0
"""Standard errors beyond which a center is another one: one in 16,000 by chance."""


@dataclass(frozen=True)
class Conserved(Settings):
    """Dissertation Section 2.6."""

    seeds: int = 1
    sets: int = 1000
    """Of parameters, drawn at once."""
    dimensions: tuple[tuple[int, ...], ...] = ((100, 100, 100), (100, 200, 100), (200, 100, 100))
    """Outputs, hidden units, inputs."""
    activations: tuple[str, ...] = ("identity", "relu", "tanh", "sigmoid")
    square: int = 100
    """All three dimensions of the networks with these activations."""
    factors: tuple[float, ...] = (0.5, 2.0)
    """Of the hidden layer, for moves of one set on its orbit."""


def draw(settings: Conserved, sizes: tuple[int, ...], activation: str, seed: int) -> dict[str, Any]:
    """The quantity for all sets, and where moves on the orbit of one set take it.

    Weights have the variance one over the number of inputs (Eq. 2.15), in float32: they are many.
    """
    m, h, n = sizes
    generator = torch.Generator().manual_seed(seed)
    values = []
    for part in torch.zeros(settings.sets).split(50):
        u = torch.randn(len(part), m, h, generator=generator) / h**0.5
        v = torch.randn(len(part), h, n, generator=generator) / n**0.5
        values.append(elementwise({U: u, V: v}, activation).double())
    one = {U: u[0].double(), V: v[0].double()}
    orbit = [float(elementwise(moved(one, activation, f), activation)) for f in settings.factors]
    return {"values": torch.cat(values).tolist(), "orbit": orbit}


def judge(results: dict[str, Any]) -> list[Finding]:
    """Centers against Eq. (2.16), as printed and as it follows from (2.14); shapes; the part of the minimum."""
    linear = {tuple(d["sizes"]): torch.tensor(d["values"]) for d in results["dimensions"]}
    shapes = {d["activation"]: torch.tensor(d["values"]) for d in results["activations"]}
    found = [
        _finding_centers(
            "the centers are m - h (Eq. 2.16, which leaves out the factor 1/2 of 2.14)", linear, 2.0
        ),
        _finding_centers("the centers of Q = 1/2 Tr[U^T U - V V^T] (Eq. 2.14) are m - h", linear, 1.0),
        Finding(
            "Q is concentrated around a small range of values",
            all(float(v.std() / _extent(results, a)) < SMALL for a, v in shapes.items()),
            "; ".join(
                f"{LABELS[a]} {v.mean():.3g} ± {v.std():.2g}, one set moved on its orbit {_ends(results, a)}"
                for a, v in shapes.items()
            ),
        ),
    ]
    found += [
        _finding_shape(LABELS[a], shapes[a], shapes["identity"])
        for a in shapes
        if a != "identity" and "identity" in shapes
    ]
    widths = {a: float(v.std()) for a, v in shapes.items()}
    found.append(
        Finding(
            "the widths are similar, too",
            max(widths.values()) < 3 * min(widths.values()),
            ", ".join(f"{LABELS[a]} {w:.2g}" for a, w in widths.items()),
            "control",
        )
    )
    return found


def _orbit(results: dict[str, Any], activation: str) -> list[float]:
    return next(d["orbit"] for d in results["activations"] if d["activation"] == activation)


def _extent(results: dict[str, Any], activation: str) -> float:
    """How far apart moves on one orbit take Q."""
    values = _orbit(results, activation)
    return max(values) - min(values)


def _ends(results: dict[str, Any], activation: str) -> str:
    values = _orbit(results, activation)
    return f"{min(values):.3g} to {max(values):.3g}"


def _finding_centers(statement: str, linear: dict[tuple[int, ...], torch.Tensor], factor: float) -> Finding:
    off, told = [], []
    for (m, h, n), values in linear.items():
        values = factor * values
        error = float(values.std()) / len(values) ** 0.5
        off.append(abs(float(values.mean()) - (m - h)) / error)
        told.append(f"{(m, h, n)}: {values.mean():.2f} ± {error:.2f} against {m - h}")
    return Finding(statement, max(off) < MISMATCH, "; ".join(told))


def _finding_shape(name: str, values: torch.Tensor, linear: torch.Tensor) -> Finding:
    """Two-sample Kolmogorov-Smirnov test of the standardized values."""
    from scipy.stats import ks_2samp

    a, b = (((v - v.mean()) / v.std()).numpy() for v in (values, linear))
    told: Any = ks_2samp(a, b)
    return Finding(
        f"{name}: the shape of the distribution is similar to that of the linear network",
        bool(told.pvalue >= SURE),
        f"largest distance of the standardized distribution functions {told.statistic:.3f}, p {told.pvalue:.2f}",
    )


def plot(results: dict[str, Any]):
    """Histograms by dimensions, and by activations."""
    count = len(results["activations"])
    figure, axes = canvas(1, 1 + count, width=3.1, height=2.9)
    for i, d in enumerate(results["dimensions"]):
        axes[0][0].hist(
            d["values"], bins=25, density=True, color=color(i), alpha=0.75, label=f"{tuple(d['sizes'])}"
        )
    top = axes[0][0].get_ylim()[1]
    for d in results["dimensions"]:
        m, h, _ = d["sizes"]
        axes[0][0].plot([(m - h) / 2] * 2, [0, 1.08 * top], color="#333333", linewidth=0.8, linestyle=":")
    legend(axes[0][0], title="(m, h, n); dotted: (m - h) / 2", title_fontsize=7, loc="upper center")
    axes[0][0].set(title="linear, by dimensions", xlabel="Q", ylabel="density", ylim=(0, 1.6 * top))
    for i, (axis, d) in enumerate(zip(axes[0][1:], results["activations"], strict=True)):
        axis.hist(d["values"], bins=25, density=True, color=color(i + 3))
        axis.set(title=f"{LABELS[d['activation']]}, {tuple(d['sizes'])}", xlabel="Q")
    return figure


@experiment(
    "conserved",
    shows="Figures 2.2, 2.3",
    paper="Dissertation, Section 2.6",
    claim="At Xavier initialization the centers of the distributions of Q match E[Q] = m - h (Eq. 2.16); with other "
    "activations the shapes are similar to those of linear networks. Q is concentrated around a small range of values, "
    "so that the initialization limits the model to a small part of the minimum.",
    settings=Conserved,
    quick={},
    judge=judge,
    plot=plot,
)
def conserved(settings: Conserved, each: Each) -> dict[str, Any]:
    """All dimensions, and all activations."""
    check_activations(settings.activations)
    sizes = (settings.square,) * 3
    by_size = [{"sizes": s, "activation": "identity", "seed": 0} for s in settings.dimensions]
    by_kind = [{"sizes": sizes, "activation": a, "seed": 1} for a in settings.activations]
    runs = each(draw, by_size + by_kind)
    told = [case | run for case, run in zip(by_size + by_kind, runs, strict=True)]
    return {"dimensions": told[: len(by_size)], "activations": told[len(by_size) :]}
