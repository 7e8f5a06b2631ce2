"""Tasks so small that what an optimizer does on them is known."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import PositiveScaling
from isoloss.learn.tasks import Draw

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Parabolas:
    """c w^2 / 2 from w = 1, the same curvature c for all: gradient descent multiplies the loss by (1 - rate c)^2."""

    name: ClassVar[str] = "parabolas"
    curvature: float = 10.0
    actions: tuple = ()

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        one = torch.ones(n, dtype=torch.float64)
        return Draw({"w": one}, {"c": self.curvature * one})

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        return data

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        return data["c"] * parameters["w"].square() / 2


@dataclass(frozen=True)
class Noisy(Parabolas):
    """A step sees the curvature times a random number."""

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        return {"c": data["c"] * torch.rand(len(data["c"]), generator=generator, dtype=torch.float64)}


@dataclass(frozen=True)
class Hyperbolas:
    """(u v - 1)^2 / 2 from u, v = 2, 1; the scalings (g u, v / g) keep it, and the gradient grows along them."""

    name: ClassVar[str] = "hyperbolas"
    honest: bool = True

    @property
    def actions(self) -> tuple:
        return (Stretch(self.honest),)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        one = torch.ones(n, 1, dtype=torch.float64)
        return Draw({"u": 2 * one, "v": one}, {})

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        return data

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        return (parameters["u"] * parameters["v"] - 1).square().sum() / 2


@dataclass(frozen=True)
class Stretch:
    """Of u by g, and of v by 1 / g; or of u alone, which does not keep the loss."""

    honest: bool
    name: ClassVar[str] = "stretch"
    group: ClassVar[PositiveScaling] = PositiveScaling(1)
    batch: ClassVar[tuple[int, ...]] = ()
    parameters: ClassVar[tuple[str, ...]] = ("u", "v")

    def act(self, g: Tensor, parameters: Tensors, data: Tensors) -> Tensors:
        v = parameters["v"] / g if self.honest else parameters["v"]
        return {"u": g * parameters["u"], "v": v}

    def units(self, parameters: Tensors, data: Tensors) -> None:
        return None
