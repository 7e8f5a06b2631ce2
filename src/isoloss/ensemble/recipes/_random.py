"""The second baseline: the reading layer is scaled at random."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent import DependentAction
from isoloss.ensemble._draw import Draw
from isoloss.ensemble.recipes._recipe import Reading, by_units


@dataclass(frozen=True)
class Random:
    r"""'random': :math:`(U, V) \mapsto (U g',\; g V)`, :math:`g' = 1 + \varepsilon D`, D diagonal, standard normal.

    References:
        Dissertation, section 2.9.
    """

    name: ClassVar[str] = "random"

    def element(self, width: int, draw: Draw) -> Tensor:
        """See `Recipe`."""
        return draw.matrix(width)

    def rule(self, draw: Draw) -> DependentAction:
        """See `Recipe`; D is drawn whenever it is applied."""

        def scaled(g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
            diagonal = 1.0 + draw.epsilon * draw.normal(len(g)).to(u)
            return by_units(u, len(g), lambda rows: rows * diagonal)

        return Reading(scaled)
