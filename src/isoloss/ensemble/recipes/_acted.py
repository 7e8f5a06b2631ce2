"""The group: a random g, moved by a data-dependent action."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent import DependentAction, Two
from isoloss.ensemble._draw import Draw


@dataclass(frozen=True)
class Acted:
    r"""'group': :math:`(U, V) \mapsto (U \pi(g, H),\; g V)`.

    Attributes:
        action: The data-dependent action; that of the dissertation by default.

    References:
        Dissertation, Eq. (2.54).
    """

    action: DependentAction = Two()

    name: ClassVar[str] = "group"

    def element(self, width: int, draw: Draw) -> Tensor:
        """See `Recipe`."""
        return draw.matrix(width)

    def rule(self, draw: Draw) -> DependentAction:
        """See `Recipe`."""
        return self.action
