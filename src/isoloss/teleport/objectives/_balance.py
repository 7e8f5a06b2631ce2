"""The smallest parameters that compute the same function: every neuron balanced."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport.objectives._objective import check_lower


@dataclass(frozen=True)
class Balance:
    r"""Squared norm of the parameters, at its minimum on the orbit.

    .. math:: \min_g \sum_p \lVert (g \cdot w)_p \rVert^2

    At the minimum every neuron's incoming and outgoing weights have equal norms, and the conserved quantities
    :math:`W_1 W_1^T - W_2^T W_2` of linear pairs are zero. It undoes bad scaling of a network's layers, whatever
    the optimizer. Needs no gradients, so that it may be called before training starts.

    Attributes:
        lower: False moves away from balance instead, within a radius that must then be given.
    """

    lower: bool = True

    name: ClassVar[str] = "squared parameter norm"
    radius: ClassVar[float] = inf
    passes: ClassVar[int] = 0
    needs_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_lower(self)

    def form(self, point: Point) -> Quadratic:
        """The sum of squares of the parameters here."""
        return Quadratic(point.parameters, 1, {})
