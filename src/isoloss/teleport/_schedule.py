"""When to teleport: the set K of Algorithm 1, as a question asked once per optimizer step.

Any callable that takes the number of the step, counted from 0, and answers yes or no is a schedule.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Schedule = Callable[[int], bool]


def always(step: int) -> bool:
    """At every step. The radius bounds one jump, not their product: raising the gradient norm for long diverges."""
    return True


@dataclass(frozen=True)
class every:
    """At steps 0, n, 2n and so on.

    Attributes:
        n: Steps from one jump to the next.
        until: First step of the part of training that is left alone; None for no end.
    """

    n: int
    until: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"every: n must be at least 1; got {self.n}; every(1) jumps at every step.")

    def __call__(self, step: int) -> bool:
        return step % self.n == 0 and (self.until is None or step < self.until)


@dataclass(frozen=True, init=False)
class at:
    """At the steps named: at(0, 100, 200)."""

    steps: frozenset[int]

    def __init__(self, *steps: int | Iterable[int]):
        flat = [s for many in steps for s in ([many] if isinstance(many, int) else many)]
        object.__setattr__(self, "steps", frozenset(flat))

    def __call__(self, step: int) -> bool:
        return step in self.steps


@dataclass(frozen=True)
class first:
    """At the first k steps, of all of training or of every epoch.

    Attributes:
        k: How many.
        per_epoch: Steps in an epoch; None for training as a whole.
    """

    k: int
    per_epoch: int | None = None

    def __post_init__(self) -> None:
        if self.per_epoch is not None and self.per_epoch < 1:
            raise ValueError(
                f"first: per_epoch must be at least 1; got {self.per_epoch}; pass len(loader), the steps of one epoch."
            )

    def __call__(self, step: int) -> bool:
        return (step if self.per_epoch is None else step % self.per_epoch) < self.k
