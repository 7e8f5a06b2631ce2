"""What a teleport can be after."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from isoloss.teleport._point import Point, without_loss
from isoloss.teleport._quadratic import Quadratic


@runtime_checkable
class Objective(Protocol):
    """A function of the point, to be raised or lowered on its orbit.

    A new objective is one file here and one line in `OBJECTIVES`. Four attributes may be left out: `needs_loss`, does
    `evaluate` take the loss (False)? and `evaluable`, can it be evaluated at other parameters at all (True)? With them
    `Teleport` refuses at once what would fail at the first jump. `roundings` is by how many roundings an evaluation may
    be off, relative to its value; without it (None) half of the digits count as rounding. `noise(point)` is by how much
    it may be off whatever its value (0.0), as differences of larger numbers are; no solver takes that for a gain.
    """

    @property
    def name(self) -> str:
        """For reports."""
        ...

    @property
    def radius(self) -> float:
        """The default bound on one jump; see `Teleport`."""
        ...

    @property
    def needs_gradients(self) -> bool:
        """Must there be gradients?"""
        ...

    @property
    def passes(self) -> int:
        """Forward passes, each with its backward pass, that one evaluation costs beyond those of training.

        A Hessian-vector product counts as one more. Functions of transported gradients and of parameters cost none.
        """
        ...

    @property
    def lower(self) -> bool:
        """Is less better?"""
        ...

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The objective at other parameters, a tensor of no dimension.

        It can be differentiated with respect to the tensors, by autograd and by `torch.func`. Where it needs the
        loss it takes `point.loss`, at any price; `passes` is 0 for those that solvers need not ask.

        Args:
            point: Where the training is: the loss, the learning rates and the optimizer's state.
            tensors: Parameters by name; absent ones are those of the point.

        Raises:
            ValueError: If it needs the loss and the point has none.
        """
        ...


def check_evaluated(objective: Objective, loss: bool, who: str) -> None:
    """Refuse an objective that a solver cannot evaluate at other parameters.

    Args:
        objective: Any.
        loss: Will there be a loss?
        who: Named in the error.

    Raises:
        ValueError: If it is known along group elements only, or needs a loss and there is none.
    """
    if not getattr(objective, "evaluable", True):
        raise ValueError(
            f"{who}: the objective must be known at any parameters; got the transported {objective.name}, known along "
            "scalings only; choose TransportedAscent, or second_moments='keep'."
        )
    if getattr(objective, "needs_loss", False) and not loss:
        raise without_loss(f"{who}, for the {objective.name}")


def check_on_orbit(objective: Objective, loss: bool, who: str) -> None:
    """The same for a solver along symmetries, to which sums of squares are known without evaluations."""
    if not hasattr(objective, "form"):
        check_evaluated(objective, loss, who)


def check_lower(objective: Objective) -> None:
    """Refuse what says neither yes nor no: a text would count as yes."""
    check_flag(objective, "lower", "True goes where the objective is smaller")


def check_flag(objective: Objective, argument: str, meaning: str) -> None:
    """The same for another argument.

    Raises:
        ValueError: If it is neither True nor False.
    """
    value = getattr(objective, argument)
    if not isinstance(value, bool):
        raise ValueError(
            f"{type(objective).__name__}: {argument} must be True or False; got {value!r}; {meaning}."
        )


@runtime_checkable
class QuadraticObjective(Objective, Protocol):
    """An objective that is a sum of squares of parameters or of transported gradients: known on the whole orbit."""

    def form(self, point: Point) -> Quadratic:
        """The sum of squares here."""
        ...


@runtime_checkable
class ScalingObjective(Objective, Protocol):
    """An objective that is a sum of squares of single entries, each with its own weight.

    Scalings take it to another one of its kind, so that it is known along them; matrices mix entries, and do not.
    """

    def scaling_form(self, point: Point) -> Quadratic:
        """The sum of squares here."""
        ...
