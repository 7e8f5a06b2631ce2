"""Ascent by steps of bounded total length, of which those that do not improve are taken back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from torch import Tensor

from isoloss.teleport._noise import Noise

State = TypeVar("State")
Slope = TypeVar("Slope")


@dataclass(frozen=True)
class Climbed(Generic[State]):
    """Where an ascent has arrived.

    Attributes:
        state: The state reached; the start itself if nothing improved.
        before: The value at the start.
        after: The value reached.
        length: Sum of the lengths of the steps that were kept.
        moved: Was any step kept, and did all together improve the value by more than rounding may?
    """

    state: State
    before: Tensor
    after: Tensor
    length: float
    moved: bool


def climb(
    start: State,
    at: Callable[[State], tuple[Tensor, Slope]],
    move: Callable[[State, Slope, float], State | None],
    norm: Callable[[Slope], float],
    *,
    steps: int,
    radius: float,
    rate: float | None,
    lower: bool,
    noise: Noise,
) -> Climbed[State]:
    """Climb from a state along its slopes.

    Args:
        start: Where to begin.
        at: The value at a state, and the slope there.
        move: The state a multiple of the slope away; None if it cannot be reached.
        norm: Length of the step of multiple one.
        steps: Evaluations after the first.
        radius: Bound on the sum of all lengths.
        rate: The multiple; None for lengths of radius / steps. Both are halved for every step taken back.
        lower: Descend instead.
        noise: What no gain may be; if that of all steps together is, the start is the result.

    Raises:
        ValueError: If neither a radius nor a rate says how long a step is.
    """
    if radius == inf and rate is None:
        raise ValueError(
            "Teleport: a step of an ascent must have a length; got radius inf and no rate; give one of the two."
        )
    sign = -1.0 if lower else 1.0
    before, slope = at(start)
    state, value, length, shrink = start, before, 0.0, 1.0
    for _ in range(steps):
        unit = norm(slope)
        longest = min(radius / steps if rate is None else rate * unit, radius - length)
        if not (0.0 < unit < inf and longest > 1e-9 * min(radius, 1.0)):
            break
        new = move(state, slope, sign * shrink * longest / unit)
        found = None if new is None else at(new)
        if new is None or found is None or not (found[0].isfinite() and sign * (found[0] - value) > 0.0):
            shrink /= 2
            continue
        length += shrink * longest
        state, (value, slope) = new, found
    if noise.hides(sign * (value - before), before):
        return Climbed(start, before, before, 0.0, False)
    return Climbed(state, before, value, length, True)
