"""What a recipe is, and the rule that baselines share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from isoloss.dependent import Activation, DependentAction
from isoloss.ensemble._draw import Draw


@runtime_checkable
class Recipe(Protocol):
    """How two adjacent layers U and V move by random matrices. A new one is one file, and one line in `RECIPES`.

    Attributes:
        name: Its name in `RECIPES`.
    """

    name: ClassVar[str]

    def element(self, width: int, draw: Draw) -> Tensor:
        """The matrix g of one member, V' = g V; shape (width, width)."""
        ...

    def rule(self, draw: Draw) -> DependentAction:
        """What becomes of U, given g and the activations of the batch."""
        ...


@dataclass(frozen=True)
class Reading:
    """V' = g V, and U' whatever a function makes of it; biases of the reading layer stay.

    Attributes:
        change: Takes g, U, and the activations before and after, and gives U'.
    """

    change: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    name: ClassVar[str] = "baseline"
    absorbs_bias: ClassVar[bool] = False

    def capacity(self, inputs: int, units: int) -> int:
        """None: baselines keep no batch."""
        return 0

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`."""
        wide = torch.promote_types(g.dtype, v.dtype)
        return (g.to(wide) @ v.to(wide)).to(v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`."""
        return self.change(g.double(), u.double(), s.double(), moved.double()).to(u)


def by_units(u: Tensor, width: int, f: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply f, linear in rows of `width` entries, to U, whose columns are units times taps of a convolution."""
    rows = u.unflatten(1, (width, -1)).transpose(1, 2)
    return f(rows).transpose(1, 2).flatten(1)
