"""The report of one teleport."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Jump:
    """What one teleport did, or why it did nothing.

    Norms are Euclidean, over all parameters of the optimizer that have a gradient. Predictions come from the
    transported gradients and cost no pass, or from the solver; measurements are there if a `measure` closure was given.

    Attributes:
        step: Number of the step, counted from 0.
        objective: Name of the objective.
        before: The objective here.
        after: The objective at the point jumped to, as predicted.
        gradient_norm_before: Norm of the gradient here.
        gradient_norm_after: Norm of the gradient at the point jumped to, as predicted.
        size: Largest spectral norm of an algebra element: every singular value of what moved the parameters
            lies between exp(-size) and exp(size). Of moves without a group, the length that their solver bounds.
        loss_before: Measured loss here; there, too, if the change of loss was bounded.
        loss_after: Measured loss at the point jumped to.
        measured_gradient_norm_before: Measured norm of the gradient here.
        measured_gradient_norm_after: Measured norm of the gradient at the point jumped to.
        skipped: Why nothing was moved; None if something was.
    """

    step: int
    objective: str
    before: float | None = None
    after: float | None = None
    gradient_norm_before: float | None = None
    gradient_norm_after: float | None = None
    size: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    measured_gradient_norm_before: float | None = None
    measured_gradient_norm_after: float | None = None
    skipped: str | None = None

    def as_dict(self) -> dict[str, float]:
        """The numbers that are known, for a logger."""
        numbers = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("objective", "skipped")
        }
        return {name: float(value) for name, value in numbers.items() if value is not None}


def joined(jumps: Sequence[Jump]) -> Jump:
    """The report of several jumps one after another, each on a minibatch of its own.

    The objective is that of all minibatches, on average; norms and losses are those before the first and after the
    last; sizes add up.
    """
    made = [jump for jump in jumps if jump.skipped is None]
    if not made:
        return jumps[0]

    def mean(name: str) -> float | None:
        numbers = [x for jump in made if (x := getattr(jump, name)) is not None]
        return sum(numbers) / len(numbers) if numbers else None

    last = {f.name: getattr(made[-1], f.name) for f in fields(Jump) if f.name.endswith("_after")}
    size = sum(jump.size or 0.0 for jump in made)
    return replace(made[0], **last, before=mean("before"), after=mean("after"), size=size)
