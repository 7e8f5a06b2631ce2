"""What a teleport can be after."""

from typing import ClassVar, Protocol, runtime_checkable

from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic


@runtime_checkable
class Objective(Protocol):
    """A function of the point, to be raised or lowered on its orbit.

    A new objective is one file here and one line in `OBJECTIVES`.

    Attributes:
        name: For reports.
        radius: The default bound on one jump; see `Teleport`.
        passes: Forward and backward passes that one evaluation costs beyond those of training; 0 for functions of
            transported gradients and of parameters.
        needs_gradients: Must there be gradients?
    """

    name: ClassVar[str]
    radius: ClassVar[float]
    passes: ClassVar[int]
    needs_gradients: ClassVar[bool]

    @property
    def lower(self) -> bool:
        """Is less better?"""
        ...


def check_lower(objective: Objective) -> None:
    """Refuse what says neither yes nor no: a text would count as yes."""
    if not isinstance(objective.lower, bool):
        raise ValueError(
            f"{type(objective).__name__}: lower must be True or False; got {objective.lower!r}; "
            "True goes where the objective is smaller."
        )


@runtime_checkable
class QuadraticObjective(Objective, Protocol):
    """An objective that is a sum of squares of parameters or of transported gradients: known on the whole orbit."""

    def form(self, point: Point) -> Quadratic:
        """The sum of squares here."""
        ...
