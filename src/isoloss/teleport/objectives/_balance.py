"""The smallest parameters that compute the same function: every neuron balanced."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from torch import Tensor

from isoloss.teleport._derivatives import complete, inner
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

    name = "squared parameter norm"
    radius = inf
    passes = 0
    needs_gradients = False

    def __post_init__(self) -> None:
        check_lower(self)

    def form(self, point: Point) -> Quadratic:
        """The sum of squares of the parameters here."""
        return Quadratic(point.parameters, 1, {})

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The sum of squares of the parameters at other values."""
        there = {n: t for n, t in complete(point, tensors).items() if n in point.rates}
        return inner(there, there)
