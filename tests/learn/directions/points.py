"""Optimizees at generic points, with what may teleport them."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.func import grad

from isoloss.groups import GeneralLinear, Group, PositiveScaling
from isoloss.learn.actions import Action, Dependent, Exact, Rotation
from isoloss.learn.directions import Direction
from isoloss.problems import GeneralizedBooth
from isoloss.symmetry import Block, Slot, Symmetry

Weights = dict[str, Tensor]


@dataclass
class Point:
    """A task, and its action."""

    action: Action
    task: Callable[[Weights, Weights], Tensor]
    parameters: Weights
    data: Weights

    def loss(self, w: Weights) -> Tensor:
        return self.task(w, self.data)

    @property
    def gradient(self) -> Weights:
        return grad(self.loss)(self.parameters)

    def moved(self, a: Tensor) -> Weights:
        return self.parameters | self.action.act(self.action.group.exp(a), self.parameters, self.data)

    def propose(self, direction: Direction) -> Tensor:
        return direction(self.action, self.loss, self.parameters, self.data, self.gradient)


def coordinates(p: Point, objective: Callable[[Weights], Tensor], h: float = 1e-5) -> Tensor:
    """Central differences of an objective of the moved weights along a basis of the algebra, by exp."""
    basis = p.action.group.basis(dtype=torch.float64)
    slopes = torch.stack([(objective(p.moved(h * e)) - objective(p.moved(-h * e))) / (2 * h) for e in basis])
    duals = torch.einsum("i...,j...->ij", basis, basis)  # orthogonal, but not of length 1 for rotations
    return torch.tensordot(torch.linalg.solve(duals, slopes), basis, 1)


def hidden(group: Group) -> Symmetry:
    """On the five units between w1 (5, 4) and w2 (3, 5)."""
    slots = (Slot("w1", Block.whole((5, 4)), (0,)), Slot("w2", Block.whole((3, 5)), (1,), Fraction(-1)))
    return Symmetry(group, slots)


def two_layers(action: Action, activation: Callable[[Tensor], Tensor], samples: int) -> Point:
    def task(w: Weights, data: Weights) -> Tensor:
        return (w["w2"] @ activation(w["w1"] @ data["x"]) - data["y"]).square().mean()

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    parameters, data = {"w1": draw(5, 4), "w2": draw(3, 5)}, {"x": draw(4, samples), "y": draw(3, samples)}
    return Point(action, task, parameters, data)


def linear() -> Point:
    """GL(5) in a linear network."""
    units = lambda w, data: w["w1"] @ data["x"]  # noqa: E731
    return two_layers(Exact(hidden(GeneralLinear(5)), units), lambda z: z, 7)


def scaling() -> Point:
    """Scalings of the units of a ReLU network."""
    units = lambda w, data: torch.relu(w["w1"] @ data["x"])  # noqa: E731
    return two_layers(Exact(hidden(PositiveScaling(5)), units), torch.relu, 7)


def dependent() -> Point:
    """GL(5) through as many samples."""
    leaky = nn.LeakyReLU(0.1)
    return two_layers(Dependent("w1", "w2", "x", leaky, 5, samples="columns"), leaky, 5)


def rotation() -> Point:
    """Rotations of an ellipse."""

    def task(w: Weights, data: Weights) -> Tensor:
        return GeneralizedBooth(data["matrix"], data["shift"])(w["w"])

    draw = GeneralizedBooth.sample()
    assert isinstance(draw.shift, Tensor)
    w = {"w": torch.randn(2, dtype=torch.float64)}
    action = Rotation(lambda data: GeneralizedBooth(data["matrix"], data["shift"]))
    return Point(action, task, w, {"matrix": draw.matrix, "shift": draw.shift})


POINTS: dict[str, Callable[[], Point]] = {p.__name__: p for p in (linear, scaling, dependent, rotation)}
