"""Table 5.1 with Figures 5.3 and 5.4: do sharpness and curvature of minima tell the validation loss?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isoloss.reproduce._data import batches, images, missing
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._minima import curvature, directions, sharpness
from isoloss.reproduce._runs import Each
from isoloss.reproduce._together import cross_entropy, descend_, hot, losses, stack

PAPER = {
    "mnist": {"phi": 0.704, "psi": -0.050},
    "fashion_mnist": {"phi": 0.790, "psi": -0.232},
    "cifar10": {"phi": 0.899, "psi": -0.167},
}
"""Table 5.1."""

MEASURES = {
    "phi": "sharpness φ",
    "excess": "φ - L",
    "training": "training loss L",
    "phi_positive": "φ, positive directions",
    "psi": "curvature ψ",
}


@dataclass(frozen=True)
class Minima(Settings):
    """Dissertation Section 5.2.3, 2024 paper Appendix E.5."""

    seeds: int = 1
    datasets: tuple[str, ...] = ("mnist", "fashion_mnist", "cifar10")
    models: int = 100
    epochs: int = 40
    batch: int = 20
    samples: int = 50_000
    held_out: int = 10_000
    hidden: tuple[int, int] = (16, 10)
    hidden_cifar10: tuple[int, int] = (128, 32)
    rate: float = 0.01
    rate_cifar10: float = 0.02
    displacements: int = 20
    """The numbers 0.001, 0.011, ..., 0.191."""
    directions: int = 200
    sharpness_samples: int = 2_000
    """Training samples on which the sharpness is measured; the paper does not say."""
    curvature_samples: int = 20


@torch.no_grad()
def models(settings: Minima, dataset: str, seed: int) -> dict[str, Any]:
    """Train all models of a data set together and measure each."""
    cifar = dataset == "cifar10"
    hidden = settings.hidden_cifar10 if cifar else settings.hidden
    data = images(dataset, settings.data, settings.samples, settings.held_out)
    widths = (data.x.shape[1], *hidden, data.classes)
    weights = stack(widths, settings.models, 1000 * seed)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(settings.epochs):
        pairs = ((x, hot(y, data.classes)) for x, y in batches(data, settings.batch, generator))
        descend_(weights, pairs, cross_entropy, settings.rate_cifar10 if cifar else settings.rate)
    y, y_held_out = hot(data.y, data.classes), hot(data.y_validation, data.classes)
    x, t = data.x[: settings.sharpness_samples], y[: settings.sharpness_samples]
    steps = [0.001 + 0.01 * i for i in range(settings.displacements)]
    around = {
        name: sharpness(
            weights,
            x,
            t,
            cross_entropy,
            steps,
            directions(weights, settings.directions, torch.Generator().manual_seed(seed), positive=positive),
        )
        for name, positive in (("phi", False), ("phi_positive", True))
    }
    wide = tuple(w.double() for w in weights)
    elements = tuple(torch.randn(h, h, dtype=torch.float64, generator=generator) for h in hidden)
    psi = curvature(wide, data.x[: settings.curvature_samples].double(), elements)
    here = losses(weights, x, t, cross_entropy)
    found = around | {
        "excess": around["phi"] - here,
        "training": losses(weights, data.x, y, cross_entropy),
        "validation": losses(weights, data.x_validation, y_held_out, cross_entropy),
        "psi": psi.mean(0),
        "psi_first": psi[0],
        "psi_second": psi[1],
    }
    return {name: values.double().tolist() for name, values in found.items()}


def correlation(a: list[float], b: list[float]) -> dict[str, float]:
    """Pearson's correlation with its 95 % interval (Fisher's transformation)."""
    r = float(np.corrcoef(a, b)[0, 1])
    reach = 1.96 / math.sqrt(max(len(a) - 3, 1))
    z = math.atanh(max(min(r, 1 - 1e-12), -1 + 1e-12))
    return {"r": r, "low": math.tanh(z - reach), "high": math.tanh(z + reach)}


def judge(results: dict[str, Any]) -> list[Finding]:
    """Sharpness correlates, curvature hardly; and does sharpness know more than the training loss?"""
    findings = [Finding(f"{name} could be tried", None, why) for name, why in results["absent"].items()]
    for name, told in results["datasets"].items():
        c, paper = told["correlations"], PAPER.get(name, {"phi": math.nan, "psi": math.nan})
        findings += [
            Finding(
                f"{name}: sharpness and validation loss correlate strongly (r > 0.5)",
                True if c["phi"]["low"] > 0.5 else False if c["phi"]["high"] < 0.5 else None,
                f"{_finding_text(c['phi'])}, paper {paper['phi']}",
            ),
            Finding(
                f"{name}: curvature and validation loss correlate weakly and negatively",
                True if c["psi"]["high"] < 0 else False if c["psi"]["low"] > 0 else None,
                f"{_finding_text(c['psi'])}, paper {paper['psi']}",
            ),
            Finding(
                f"{name}: sharpness knows more than the training loss that it contains (φ - L correlates)",
                True if c["excess"]["low"] > 0 else False if c["excess"]["high"] < 0.5 else None,
                f"φ - L {_finding_text(c['excess'])}; training loss {_finding_text(c['training'])}; "
                f"φ and training loss {_finding_text(told['phi_and_training'])}; "
                f"φ with directions of the positive orthant, as in the code, {_finding_text(c['phi_positive'])}",
                "control",
            ),
        ]
    return findings


def _finding_text(c: dict[str, float]) -> str:
    return f"r = {c['r']:.2f} ({c['low']:.2f} to {c['high']:.2f})"


def plot(results: dict[str, Any]):
    """A point per model: every measure against the validation loss."""
    datasets = results["datasets"]
    figure, axes = canvas(len(datasets), len(MEASURES), width=3.0, height=2.8)
    for row, (name, told) in zip(axes, datasets.items(), strict=True):
        for i, (axis, (key, label)) in enumerate(zip(row, MEASURES.items(), strict=True)):
            axis.plot(told["models"][key], told["models"]["validation"], ".", markersize=4, color=color(i))
            axis.set(xlabel=label, title=f"{name}: r = {told['correlations'][key]['r']:.2f}")
            axis.locator_params(axis="x", nbins=4)
            axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
            axis.xaxis.get_offset_text().set_fontsize(8)
        row[0].set_ylabel("validation loss")
    return figure


@experiment(
    "minima",
    shows="Table 5.1, Figures 5.3 and 5.4",
    paper="Dissertation, Section 5.2.3; Zhao et al. (2024), Table 1 and Appendix E.5",
    claim="Over 100 models, sharpness correlates strongly with the validation loss (0.70, 0.79, 0.90 on MNIST, "
    "Fashion-MNIST and CIFAR-10), curvature weakly and negatively (-0.05, -0.23, -0.17).",
    settings=Minima,
    quick={
        "datasets": ("mnist", "cifar10"),
        "epochs": 10,
        "samples": 10_000,
        "held_out": 10_000,
        "hidden_cifar10": (32, 10),
        "directions": 10,
        "sharpness_samples": 1_000,
    },
    judge=judge,
    plot=plot,
)
def minima(settings: Minima, each: Each) -> dict[str, Any]:
    """All models of every data set."""
    absent = missing(settings.datasets, settings.data)
    names = [name for name in settings.datasets if name not in absent]
    if not names:
        raise OSError(f"minima: no data set can be had: {absent}.")
    runs = each(models, [{"dataset": name, "seed": s} for name in names for s in range(settings.seeds)])
    told = {}
    for i, name in enumerate(names):
        many = runs[i * settings.seeds : (i + 1) * settings.seeds]
        found = {key: [v for run in many for v in run[key]] for key in many[0]}
        finite = [j for j, row in enumerate(zip(*found.values(), strict=True)) if None not in row]
        found = {key: [values[j] for j in finite] for key, values in found.items()}
        measured = [key for key in found if key != "validation"]
        told[name] = {
            "models": found,
            "correlations": {key: correlation(found[key], found["validation"]) for key in measured},
            "phi_and_training": correlation(found["phi"], found["training"]),
        }
    return {"datasets": told, "absent": absent}
