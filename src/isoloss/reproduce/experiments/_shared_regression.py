"""The three-layer regression of Figures 4.5, 4.7 and 5.9: its data, its network and the actions on it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.reproduce._actions import Action, First
from isoloss.reproduce._network import Perceptron, Weights
from isoloss.reproduce._training import put_

WIDTHS = (5, 6, 7, 8)
SAMPLES = 4

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
