"""The three-layer regression of Figures 4.5, 4.7 and 5.9: its data, its network and the actions on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss.reproduce._actions import Action, First, like
from isoloss.reproduce._ascent import Ascent, Objective, ascend
from isoloss.reproduce._network import Perceptron, Weights
from isoloss.reproduce._training import Move, put_, train

WIDTHS = (5, 6, 7, 8)
SAMPLES = 4

LONGEST = 0.3
"""Of a step of the exact variant; at the published rates its unbounded steps reach norms of 16."""

ACTIONS: dict[str, Action] = {
    "published": First("first order"),
    "exact": First("exact"),
}
"""The first-order variant as published, and with the exact inverse."""


@dataclass(frozen=True)
class Problem:
    """Data, targets and weights, all uniform over [0, 1], in float64."""

    model: Perceptron
    x: Tensor
    y: Tensor

    @property
    def weights(self) -> Weights:
        """Copies of those of the model."""
        return tuple(w.detach().clone() for w in self.model.weights)

    def loss(self) -> Tensor:
        """The loss now."""
        return squares(self.model(self.x), self.y)


def problem(seed: int) -> Problem:
    """The problem of a seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    model = Perceptron(WIDTHS, generator).double()
    x, y = draw(SAMPLES, WIDTHS[0]), draw(SAMPLES, WIDTHS[-1])
    put_(model, [draw(*w.shape) for w in model.weights])
    return Problem(model, x, y)


def squares(outputs: Tensor, y: Tensor) -> Tensor:
    """The sum of squared errors."""
    return (outputs - y).square().sum()


def optimizer(name: str, problem: Problem, rate: float) -> torch.optim.Optimizer:
    """Gradient descent, momentum 0.9 or AdaGrad."""
    match name:
        case "GD":
            return torch.optim.SGD(problem.model.parameters(), lr=rate)
        case "momentum":
            return torch.optim.SGD(problem.model.parameters(), lr=rate, momentum=0.9)
        case _:
            return torch.optim.Adagrad(problem.model.parameters(), lr=rate)


def raise_(
    problem: Problem,
    action: Action,
    objective: Objective,
    steps: int,
    rate: float,
    *,
    longest: float = LONGEST,
    random: int | None = None,
) -> Ascent:
    """Move the weights to where the objective is higher; with a seed, as far in a random direction."""
    before = problem.weights
    found = ascend(action, before, problem.x, objective, steps=steps, rate=rate, longest=longest)
    moved = found.weights
    if random is not None:
        moved = action(before, like(found.total, torch.Generator().manual_seed(random)), problem.x)
    put_(problem.model, moved)
    return found


def descend(
    problem: Problem,
    chosen: torch.optim.Optimizer,
    epochs: int,
    move: Move | None,
    at: int,
    watch: Callable[[], Mapping[str, float]],
) -> dict[str, Any]:
    """Train, with a move before an epoch; `final` is None if training diverged, also to a large but finite loss."""
    moves = {} if move is None else {at: [move]}
    history = train(
        problem.model, chosen, squares, lambda _: [(problem.x, problem.y)], epochs, watch=watch, moves=moves
    )
    final, start = history["loss"][-1], history["loss"][0]
    return history | {"final": None if history["diverged"] or not final < 10 * start else final}
