"""The first baseline: the symmetry of a linear network, taken for one of this."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.dependent import DependentAction
from isoloss.ensemble._draw import Draw
from isoloss.ensemble.recipes._recipe import Reading, by_units


@dataclass(frozen=True)
class Inverse:
    r"""'g^{-1}': :math:`(U, V) \mapsto (U g^{-1},\; g V)`.

    References:
        Dissertation, section 2.9.
    """

    name: ClassVar[str] = "inverse"

    def element(self, width: int, draw: Draw) -> Tensor:
        """See `Recipe`."""
        return draw.matrix(width)

    def rule(self, draw: Draw) -> DependentAction:
        """See `Recipe`."""
        return Reading(undone)


def undone(g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
    """U g^-1."""
    return by_units(u, len(g), lambda rows: torch.linalg.solve(g, rows, left=False))
