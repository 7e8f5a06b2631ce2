"""What the image experiments share: data, network, optimizers, losses, and the ways to teleport."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from isoloss.dependent import teleport_
from isoloss.problems import Data
from isoloss.reproduce._actions import Action, First, Second, like
from isoloss.reproduce._ascent import Objective, ascend, gradient_norm
from isoloss.reproduce._data import batches, images
from isoloss.reproduce._network import Perceptron, symmetries
from isoloss.reproduce._training import Batch, Move, put_, reset_
from isoloss.teleport import GradientNorm, Teleport, always

LONGEST = 0.03
"""Of an ascent step of the difference forms, of which there are ten; the published forms are not bounded."""

RADIUS = 0.1
"""Of a teleport along the exact scalings, and of a data-dependent one of the library."""

ACTIONS: dict[str, dict[str, Action]] = {
    "2022": {"published": First("first order"), "difference": First("exact", "difference")},
    "2024": {"published": Second("kept"), "difference": Second("moved", "difference")},
}
"""The action of each paper's experiments as published, and in the form that does nothing at the identity."""


@dataclass(frozen=True)
class Task:
    """A network and what it is trained on.

    Attributes:
        model: The network.
        data: Training data; validation data where the experiment wants it.
        batch: Samples per step.
        seed: Of the initialization and of the order of the batches.
    """

    model: Perceptron
    data: Data
    batch: int
    seed: int

    def epoch(self, number: int) -> Iterable[Batch]:
        """The batches of an epoch, which depend on the seed and the number only."""
        return batches(self.data, self.batch, torch.Generator().manual_seed(10_000 * self.seed + number))

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """Training and validation loss on all data."""
        d = self.data
        pairs = {"training": (d.x, d.y), "validation": (d.x_validation, d.y_validation)}
        return {name: cross_entropy(self.model(x), y).item() for name, (x, y) in pairs.items()}

    def minibatches(self, number: int, size: int) -> list[Batch]:
        """Batches to teleport with."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = [torch.randperm(len(self.data.y), generator=generator)[:size] for _ in range(number)]
        return [(self.data.x[row], self.data.y[row]) for row in rows]


def task(
    name: str,
    folder: str,
    hidden: Sequence[int],
    samples: int,
    held_out: int,
    batch: int,
    seed: int,
    *,
    of_training: bool = False,
) -> Task:
    """A task.

    Args:
        name: The data set.
        folder: Where it may be.
        hidden: Widths.
        samples: Training samples.
        held_out: Validation samples.
        batch: Samples per step.
        seed: Of everything random.
        of_training: Take the validation samples from the training set, as the 2022 paper does.
    """
    data = images(name, folder, samples + (held_out if of_training else 0), held_out)
    if of_training:
        x, y = data.x, data.y
        data = Data(name, x[:samples], y[:samples], x[samples:], y[samples:], data.classes)
    widths = (data.x.shape[1], *hidden, data.classes)
    return Task(Perceptron(widths, torch.Generator().manual_seed(seed)), data, batch, seed)


OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "AdaGrad": lambda parameters, lr: torch.optim.Adagrad(parameters, lr=lr, fused=True),
    "RMSProp": torch.optim.RMSprop,
    "Adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, fused=True),
}


def optimizer(name: str, model: Perceptron, rate: float) -> torch.optim.Optimizer:
    """An optimizer of the papers, with torch's defaults but for momentum 0.9."""
    return OPTIMIZERS[name](model.parameters(), lr=rate)


def teleports(
    contender: str,
    task: Task,
    chosen: torch.optim.Optimizer,
    minibatches: Sequence[Batch],
    *,
    paper: str,
    steps: int,
    rate: float,
    reset: bool,
) -> list[Move]:
    """The moves of a contender, one per minibatch.

    Args:
        contender: "published" and "difference" raise the gradient norm by gradient ascent; "isoloss" does it by
            isoloss.dependent.teleport_, within a radius; "scalings" on the exact symmetries, by isoloss.Teleport;
            "random" moves as far as "difference" in a random direction; "reset only" does not move; anything else does
            nothing.
        task: What is trained.
        chosen: Its optimizer.
        minibatches: What each move depends on.
        paper: "2022" or "2024": whose action.
        steps: Ascent steps.
        rate: Of the ascent.
        reset: Forget the optimizer's state after a move, as the published code does.
    """
    if contender == "reset only":
        return [_Reset(chosen)]
    if contender == "scalings":
        return [_Scalings(task, chosen, minibatches)]
    if contender == "isoloss":
        return [_Dependent(task, chosen, x, y, steps, reset) for x, y in minibatches]
    if contender not in ("published", "difference", "random"):
        return []
    form = "published" if contender == "published" else "difference"
    random = torch.Generator().manual_seed(task.seed) if contender == "random" else None
    longest = torch.inf if contender == "published" else LONGEST
    action = ACTIONS[paper][form]
    return [
        Raise(
            task, chosen, action, x, gradient_norm(cross_entropy, x, y), steps, rate, longest, random, reset
        )
        for x, y in minibatches
    ]


@dataclass(frozen=True)
class Raise:
    """Raise an objective along a data-dependent action, or move as far at random.

    Attributes:
        task: What is trained.
        chosen: Its optimizer.
        action: Along what.
        x: The inputs of the action.
        objective: What is raised; lowered for a negative rate.
        steps: Ascent steps.
        rate: Of the ascent.
        longest: Bound on a step.
        random: If given, draws elements of the size found, which are used in their place.
        reset: Forget the optimizer's state.
    """

    task: Task
    chosen: torch.optim.Optimizer
    action: Action
    x: Tensor
    objective: Objective
    steps: int
    rate: float
    longest: float
    random: torch.Generator | None
    reset: bool

    def __call__(self) -> dict[str, float]:
        """Move; reports the objective before and after, and how far it went."""
        weights = tuple(w.detach().clone() for w in self.task.model.weights)
        if not all(w.isfinite().all() for w in weights):  # training has diverged
            return {}
        found = ascend(
            self.action,
            weights,
            self.x,
            self.objective,
            steps=self.steps,
            rate=self.rate,
            longest=self.longest,
        )
        moved = found.weights
        if self.random is not None:
            moved = self.action(weights, like(found.total, self.random), self.x)
        put_(self.task.model, moved)
        if self.reset:
            reset_(self.chosen)
        values = [self.objective(ws).item() for ws in (weights, self.task.model.weights)]
        return {"objective_before": values[0], "objective_after": values[1], "size": found.size}


@dataclass(frozen=True)
class _Reset:
    chosen: torch.optim.Optimizer

    def __call__(self) -> None:
        reset_(self.chosen)


@dataclass(frozen=True)
class _Dependent:
    """A data-dependent teleport of the library: closed forms, bounded by a radius, measured on its batch."""

    task: Task
    chosen: torch.optim.Optimizer
    x: Tensor
    y: Tensor
    steps: int
    reset: bool

    def __call__(self) -> dict[str, float]:
        model = self.task.model

        def loss() -> Tensor:
            return cross_entropy(model(self.x), self.y)

        if not loss().isfinite():  # training has diverged
            return {}
        moved = teleport_(symmetries(model), loss, steps=self.steps, radius=RADIUS)
        if self.reset:
            reset_(self.chosen)
        norms = moved.gradient_norm_before or 0.0, moved.gradient_norm_after or 0.0
        return {
            "objective_before": norms[0] ** 2,
            "objective_after": norms[1] ** 2,
            "size": moved.size or 0.0,
        }


@dataclass(frozen=True)
class _Scalings:
    """A jump along the exact scalings per minibatch; the optimizer's state moves along."""

    task: Task
    chosen: torch.optim.Optimizer
    minibatches: Sequence[Batch]

    def __call__(self) -> dict[str, float]:
        model = self.task.model
        companion = Teleport(self.chosen, symmetries(model), GradientNorm(), schedule=always, radius=RADIUS)
        norms = []
        for x, y in self.minibatches:
            self.chosen.zero_grad()
            cross_entropy(model(x), y).backward()
            jump = companion.step()
            norms.append(jump.as_dict() if jump is not None else {})
        return {
            "objective_before": norms[0].get("gradient_norm_before", 0.0) ** 2,
            "objective_after": norms[-1].get("gradient_norm_after", 0.0) ** 2,
            "size": sum(n.get("size", 0.0) for n in norms),
        }


def finals(history: dict[str, Any]) -> dict[str, float | None]:
    """The final losses; None if training diverged, also if it ended far above where it began."""
    bad = history["diverged"] or not history["training"][-1] < 10 * history["training"][0]
    return {
        "final": None if bad else history["training"][-1],
        "final_validation": None if bad else history["validation"][-1],
        "lowest_validation": None if bad else min(v for v in history["validation"] if v is not None),
    }
