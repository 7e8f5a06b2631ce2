"""Figure 5.9: what becomes of momentum at a teleport, and which norm of the gradient AdaGrad should raise."""

from dataclasses import dataclass
from typing import Any

import torch

from isoloss.reproduce._ascent import follow, gradient_norm
from isoloss.reproduce._contest import against_control, both_rates, contests, plot_contests, versus
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce._training import reset_
from isoloss.reproduce.experiments._shared_regression import (
    ACTIONS,
    Problem,
    descend,
    optimizer,
    problem,
    raise_,
    squares,
)
from isoloss.teleport import Point
from isoloss.teleport.objectives._preconditioner import preconditioner

CONTENDERS = {
    "momentum": ("momentum", "transport", "keep", "reset", "random", "reset only"),
    "AdaGrad": ("AdaGrad", "|g|", "|g|_A", "random", "reset only"),
}
MOVING = {"momentum": ("transport", "keep", "reset"), "AdaGrad": ("|g|", "|g|_A")}


@dataclass(frozen=True)
class Strategies(Settings):
    """Dissertation Section 5.4.1; the learning rates of the optimizers are those of Section 4.6.1."""

    epochs: int = 300
    teleport_at: int = 5
    momentum_rate: float = 1e-4
    adagrad_rate: float = 1e-1
    steps: int = 8
    momentum_teleport: float = 1e-7
    norm_teleport: float = 1.2e-5
    mahalanobis_teleport: float = 7.5e-3


def run(settings: Strategies, optimizer_name: str, contender: str, rate: float, seed: int) -> dict[str, Any]:
    """One run."""
    task = problem(seed)
    chosen = optimizer(optimizer_name, task, rate)

    def move() -> dict[str, float]:
        return _teleport(settings, contender, task, chosen, seed)

    def watch() -> dict[str, float]:
        return {"loss": task.loss().item()}

    moving = None if contender == optimizer_name else move
    return descend(task, chosen, settings.epochs, moving, settings.teleport_at, watch)


def _teleport(
    settings: Strategies, contender: str, task: Problem, chosen: torch.optim.Optimizer, seed: int
) -> dict[str, float]:
    if contender == "reset only":
        reset_(chosen)
        return {}
    adagrad = isinstance(chosen, torch.optim.Adagrad)
    scale = _preconditioner(task, chosen) if contender == "|g|_A" else None
    rate = (
        settings.mahalanobis_teleport
        if scale
        else settings.norm_teleport
        if adagrad
        else settings.momentum_teleport
    )
    objective = gradient_norm(squares, task.x, task.y, scale)
    action, before = ACTIONS["exact"], task.weights
    random = seed if contender == "random" else None
    found = raise_(task, action, objective, settings.steps, rate, random=random)
    if contender == "reset":
        reset_(chosen)
    if contender == "transport":
        buffers = [chosen.state[p]["momentum_buffer"] for p in task.model.parameters()]
        for buffer, new in zip(buffers, follow(action, before, found, task.x, tuple(buffers)), strict=True):
            buffer.copy_(new)
    return {"size": found.size}


def _preconditioner(task: Problem, chosen: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The diagonal A of Eq. (5.7), with the gradient of the coming step in G: the library's."""
    named = dict(task.model.named_parameters())
    gradients = torch.autograd.grad(task.loss(), list(named.values()))
    options = chosen.param_groups[0]
    point = Point(
        tensors=named,
        gradients=dict(zip(named, gradients, strict=True)),
        rates={name: options["lr"] for name in named},
        state={name: chosen.state[p] for name, p in named.items()},
        options=dict.fromkeys(named, options),
    )
    return list(preconditioner(point).values())


def judge(results: dict[str, Any]) -> list[Finding]:
    """All strategies speed momentum up, alike; the Mahalanobis norm has a slight advantage for AdaGrad."""
    findings = []
    for name, entries in results["contests"].items():
        for ours in MOVING[name]:
            findings += both_rates(
                entries, ours, name, f"{name}: a teleport ({ours}) ends lower than without"
            )
            findings.append(against_control(entries, ours, "random"))
            findings.append(against_control(entries, ours, "reset only"))
    momentum, adagrad = results["contests"]["momentum"], results["contests"]["AdaGrad"]
    pairs = [("keep", "transport"), ("reset", "transport")]
    alike = [versus(momentum, a, b) for a, b in pairs]
    findings.append(
        Finding(
            "the three strategies for momentum train alike (final losses within a factor 1.5)",
            all(1 / 1.5 < c.ratio < 1.5 for c in alike),
            "; ".join(f"{a} against {b}: {c}" for (a, b), c in zip(pairs, alike, strict=True)),
        )
    )
    better = versus(adagrad, "|g|_A", "|g|")
    findings.append(Finding("AdaGrad: raising |g|_A ends lower than raising |g|", better.lower, str(better)))
    return findings


def plot(results: dict[str, Any]):
    """Curves and sweeps of both optimizers."""
    return plot_contests(results["contests"], measure="loss", label="training loss")[0]


@experiment(
    "strategies",
    shows="Figure 5.9",
    paper="Dissertation, Section 5.4.1",
    claim="Teleporting speeds up momentum whether the momentum is moved along, kept or reset, and the three train "
    "alike; for AdaGrad, raising the Mahalanobis norm of the gradient has a slight advantage over the Euclidean norm.",
    settings=Strategies,
    quick={},
    judge=judge,
    plot=plot,
)
def strategies(settings: Strategies, each: Each) -> dict[str, Any]:
    """Momentum with three strategies, AdaGrad with two norms."""
    rates = {"momentum": settings.momentum_rate, "AdaGrad": settings.adagrad_rate}
    return {"contests": contests(each, run, CONTENDERS, rates, settings.seeds)}
