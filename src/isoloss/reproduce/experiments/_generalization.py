"""Figures 5.7 and 5.8: changing the sharpness or the curvature of a minimum on CIFAR-10, with SGD and with AdaGrad."""

from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from isoloss.reproduce._ascent import Objective
from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, curve, legend, outside
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._minima import curvature, directions, sharpness
from isoloss.reproduce._network import Weights
from isoloss.reproduce._runs import Each
from isoloss.reproduce._together import cross_entropy as hot_cross_entropy
from isoloss.reproduce._together import hot
from isoloss.reproduce._training import Move, reset_, train
from isoloss.reproduce.experiments._shared_images import (
    ACTIONS,
    LONGEST,
    Raise,
    Task,
    finals,
    optimizer,
    task,
)

AIMS = {"flatter": ("phi", -1), "sharper": ("phi", 1), "curvier": ("psi", 1), "straighter": ("psi", -1)}
"""What a teleport changes, and in which direction."""

STRONG = 1e9
"""A rate at which every step has the length LONGEST: the published rates hardly change what they aim at."""

CONTENDERS = (
    "none",
    *(f"{aim}, published" for aim in AIMS),
    *(f"{aim}, difference" for aim in AIMS),
    *(f"{aim}, strong" for aim in AIMS),
    "random",
    "reset only",
)


@dataclass(frozen=True)
class Generalization(Settings):
    """Dissertation Section 5.3. AdaGrad's learning rate is not given."""

    samples: int = 50_000
    held_out: int = 10_000
    hidden: tuple[int, int] = (32, 10)
    epochs: int = 40
    batch: int = 20
    teleport_at: int = 20
    minibatches: int = 5
    minibatch: int = 2000
    phi_steps: int = 10
    psi_steps: int = 1
    teleport_rate: float = 5e-2
    sgd_rate: float = 2e-2
    adagrad_rate: float = 1e-2
    directions: int = 200
    displacements: int = 20
    """Of the sharpness: 0.001, 0.011, and so on."""


def classify(settings: Generalization, optimizer_name: str, contender: str, seed: int) -> dict[str, Any]:
    """One run."""
    s = settings
    job = task("cifar10", s.data, s.hidden, s.samples, s.held_out, s.batch, seed)
    rate = s.sgd_rate if optimizer_name == "SGD" else s.adagrad_rate
    chosen = optimizer(optimizer_name, job.model, rate)
    moves = _moves(s, contender, job, chosen)
    history = train(
        job.model, chosen, cross_entropy, job.epoch, s.epochs, watch=job.watch, moves={s.teleport_at: moves}
    )
    since = [v for v in history["validation"][s.teleport_at + 1 :] if v is not None]
    return history | finals(history) | {"lowest_after": min(since, default=None)}


def _moves(s: Generalization, contender: str, job: Task, chosen: torch.optim.Optimizer) -> list[Move]:
    if contender == "none":
        return []
    if contender == "reset only":
        return [lambda: reset_(chosen)]
    aim, _, form = ("curvier, difference" if contender == "random" else contender).partition(", ")
    measure, sign = AIMS[aim]
    strong = form == "strong"
    steps = s.phi_steps if measure == "phi" or strong else s.psi_steps
    # The published code builds its optimizer anew.
    random = torch.Generator().manual_seed(job.seed) if contender == "random" else None
    return [
        Raise(
            job,
            chosen,
            ACTIONS["2024"]["difference" if strong else form],
            x,
            _objective(s, measure, x, y, job),
            steps,
            sign * (STRONG if strong else s.teleport_rate),
            torch.inf if form == "published" else LONGEST,
            random,
            True,
        )
        for x, y in job.minibatches(s.minibatches, min(s.minibatch, len(job.data.y)))
    ]


def _objective(s: Generalization, measure: str, x: Tensor, y: Tensor, job: Task) -> Objective:
    """Sharpness or curvature on a batch; its random numbers are drawn once, so that steps compare."""
    generator = torch.Generator().manual_seed(job.seed)
    if measure == "psi":
        elements = tuple(torch.randn(h, h, dtype=x.dtype, generator=generator) for h in s.hidden)
        # The published code, too, looks at the middle pair of matrices only.
        return lambda weights: curvature(_one(weights), x, elements, skip=1).mean()
    around = list(directions(_one(job.model.weights), s.directions, generator))
    steps = [0.001 + 0.01 * i for i in range(s.displacements)]
    targets = hot(y, job.data.classes)
    return lambda weights: sharpness(_one(weights), x, targets, hot_cross_entropy, steps, around).squeeze(0)


def _one(weights: Weights) -> Weights:
    """One network as a stack of one."""
    return tuple(w.unsqueeze(0) for w in weights)


def judge(results: dict[str, Any]) -> list[Finding]:
    """Flatter helps slightly, sharper does nothing, curvier helps, straighter hurts; does the aim change at all?"""
    findings = []
    for name, entries in results["optimizers"].items():
        for form in ("published", "difference", "strong"):
            kind = "paper" if form == "published" else "control"
            against = {aim: _finding_versus(entries, f"{aim}, {form}", "none") for aim in AIMS}
            said = f"{name}, {form} action"
            findings += [
                Finding(
                    f"{said}: flatter lowers the validation loss",
                    against["flatter"].lower,
                    str(against["flatter"]),
                    kind,
                ),
                Finding(
                    f"{said}: sharper leaves it unchanged (within 2 %)",
                    abs(against["sharper"].ratio - 1) < 0.02,
                    str(against["sharper"]),
                    kind,
                ),
                Finding(
                    f"{said}: larger curvature lowers the validation loss",
                    against["curvier"].lower,
                    str(against["curvier"]),
                    kind,
                ),
                Finding(
                    f"{said}: smaller curvature raises the validation loss",
                    against["straighter"].higher,
                    str(against["straighter"]),
                    kind,
                ),
            ]
            findings += [
                _finding_jump(entries[f"{aim}, {form}"], f"{name}: {aim}, {form}", aim) for aim in AIMS
            ]
        for ours, control in product(("curvier, published", "curvier, strong"), ("random", "reset only")):
            c = _finding_versus(entries, ours, control)
            findings.append(
                Finding(
                    f"{name}: {ours}, ends lower than {control}",
                    c.lower,
                    f"validation loss: {c}",
                    "control",
                )
            )
    return findings


def _finding_versus(entries: dict[str, Any], ours: str, theirs: str) -> Comparison:
    """By the lowest validation loss after the teleport, for some runs overfit in the end."""
    return compare(*([run["lowest_after"] for run in entries[name]] for name in (ours, theirs)))


def _finding_jump(runs: list[dict[str, Any]], said: str, aim: str) -> Finding:
    jumps = [j for run in runs for j in run["jumps"]]
    moved = [j["objective_after"] / j["objective_before"] for j in jumps if j.get("objective_after")]
    changes = [j["after"]["training"] / j["before"]["training"] - 1 for j in jumps if j["after"]["training"]]
    if not moved or not changes:
        return Finding(f"{said}: changes what it aims at", False, "no finite jump", "control")
    factor = median(moved)
    sign = AIMS[aim][1]
    return Finding(
        f"{said}: changes what it aims at by more than 1 %",
        (factor - 1) * sign > 0.01,
        f"{AIMS[aim][0]} times {factor:.4g} at a jump (median of {len(moved)}); the training loss changes by "
        f"{median(changes):+.2g} ({min(changes):+.2g} to {max(changes):+.2g})",
        "control",
    )


def plot(results: dict[str, Any]):
    """Losses against those without a teleport, seed by seed: the changes are smaller than the spread of the seeds."""
    optimizers = results["optimizers"]
    forms = ("published", "difference", "strong")
    figure, axes = canvas(len(optimizers), len(forms) + 1, height=3.0)
    for row, (name, entries) in zip(axes, optimizers.items(), strict=True):
        plain = entries["none"]
        for i, measure in enumerate(("validation", "training")):
            curve(row[0], plain[0]["epochs"], [r[measure] for r in plain], measure, 7 + i)
        legend(row[0])
        row[0].set(xlabel="epoch", ylabel="loss", title=f"{name}: no teleport")
        for axis, form in zip(row[1:], forms, strict=True):
            shown = {aim: entries[f"{aim}, {form}"] for aim in AIMS}
            shown |= {control: entries[control] for control in ("random", "reset only")}
            for i, (aim, runs) in enumerate(shown.items()):
                ratios = [_panel_ratios(ours, of) for ours, of in zip(runs, plain, strict=True)]
                curve(axis, plain[0]["epochs"], ratios, aim, i)
            axis.axhline(1.0, color="#777777", linewidth=0.8, linestyle="--")
            axis.set(xlabel="epoch", ylabel="validation loss / without", title=f"{name}: {form}")
            # What explodes leaves the picture.
            low, high = axis.get_ylim()
            axis.set_ylim(max(min(low, 0.98), 0.8), min(max(high, 1.02), 1.2))
        outside(row[-1], row[1])
    return figure


def _panel_ratios(ours: dict[str, Any], plain: dict[str, Any]) -> list[float | None]:
    pairs = zip(ours["validation"], plain["validation"], strict=False)
    return [None if a is None or b is None else a / b for a, b in pairs]


@experiment(
    "generalization",
    shows="Figures 5.7 and 5.8",
    paper="Dissertation, Section 5.3; Zhao et al. (2024), Figure 1 and Appendix E.6",
    claim="On CIFAR-10, a teleport to a flatter point improves the validation loss slightly and one to a sharper point "
    "has no effect; larger curvature of the minimum lowers the validation loss, smaller curvature raises it. With SGD "
    "and with AdaGrad.",
    settings=Generalization,
    quick={
        "samples": 5_000,
        "held_out": 2_000,
        "epochs": 8,
        "teleport_at": 4,
        "minibatch": 300,
        "directions": 10,
        "displacements": 5,
    },
    judge=judge,
    plot=plot,
)
def generalization(settings: Generalization, each: Each) -> dict[str, Any]:
    """Both optimizers, every aim."""
    cases = [
        {"optimizer_name": name, "contender": c, "seed": s}
        for name in ("SGD", "AdaGrad")
        for c in CONTENDERS
        for s in range(settings.seeds)
    ]
    told: dict[str, Any] = {"SGD": {}, "AdaGrad": {}}
    for case, run in zip(cases, each(classify, cases), strict=True):
        told[case["optimizer_name"]].setdefault(case["contender"], []).append(run)
    return {"optimizers": told}
