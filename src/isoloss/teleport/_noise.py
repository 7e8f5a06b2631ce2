"""What rounding alone does to an objective: no gain counts that is smaller."""

from dataclasses import dataclass

from torch import Tensor

from isoloss.teleport._point import Point
from isoloss.teleport.objectives import Objective


@dataclass(frozen=True)
class Noise:
    """Changes of a value that rounding may cause.

    Attributes:
        relative: To the value.
        absolute: Whatever the value: an objective that is a difference of larger numbers has their rounding.
    """

    relative: float
    absolute: float = 0.0

    @classmethod
    def of(cls, point: Point, objective: Objective, relative: float | None = None) -> "Noise":
        """That of an objective.

        Args:
            point: Where the training is.
            objective: Its `noise` is the absolute part, zero if it has none.
            relative: None asks `rounding` for the objective.
        """
        absolute = getattr(objective, "noise", None)
        return cls(
            rounding(point, objective) if relative is None else relative,
            0.0 if absolute is None else float(absolute(point)),
        )

    def hides(self, change: Tensor | float, value: Tensor | float) -> bool:
        """May a change of a value be rounding? A decrease, too, and what is not a number."""
        return not bool(change > self.relative * abs(value) + self.absolute)


def rounding(point: Point, objective: Objective | None = None) -> float:
    """Relative size of changes that rounding may cause in an evaluation: half of the digits, at worst.

    Args:
        point: Where the training is.
        objective: Its `roundings` are taken instead, if it says how many there are.
    """
    known = getattr(objective, "roundings", None)
    return point.eps**0.5 if known is None else known * point.eps
