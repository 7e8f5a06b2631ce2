"""When to teleport: the set K of Algorithm 1, as a question asked once per optimizer step.

Any callable that takes the number of the step, counted from 0, and answers yes or no is a schedule. Epochs are steps in
groups of `per_epoch`, the length of the loader: every(2 * n, until=10 * n) is every second epoch up to the tenth.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isoloss._checks import is_whole

Schedule = Callable[[int], bool]


def always(step: int) -> bool:
    """At every step. The radius bounds one jump, not their product: raising the gradient norm for long diverges."""
    return True


@dataclass(frozen=True)
class every:
    """At steps 0, n, 2n and so on.

    Attributes:
        n: Steps from one jump to the next.
        until: First step of the part of training that is left alone; None for no end. The jump at step 0 comes
            before any later end: every(10, until=5) jumps once.
    """

    n: int
    until: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.n, least=1):
            raise ValueError(
                f"every: n must be a whole number of at least 1; got {self.n!r}; every(1) jumps at every step."
            )
        if self.until is not None and not is_whole(self.until):
            raise ValueError(
                f"every: until must be the number of a step, counted from 0; got {self.until!r}; None is for no end."
            )

    def __call__(self, step: int) -> bool:
        return step % self.n == 0 and (self.until is None or step < self.until)


@dataclass(frozen=True, init=False)
class at:
    """At the steps named: at(0, 100, 200). With none, at(), it is the schedule that never jumps."""

    steps: frozenset[int]

    def __init__(self, *steps: int | Iterable[int]):
        flat = [s for many in steps for s in (many if isinstance(many, Iterable) else [many])]
        if wrong := [s for s in flat if not is_whole(s)]:
            raise ValueError(
                f"at: steps must be whole numbers, counted from 0; got {', '.join(map(repr, wrong[:3]))}; "
                "write at(0, 100, 200)."
            )
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
        if not is_whole(self.k):
            raise ValueError(
                f"first: k must be a number of steps; got {self.k!r}; first(4) jumps four times."
            )
        if self.per_epoch is not None and not is_whole(self.per_epoch, least=1):
            raise ValueError(
                f"first: per_epoch must be a whole number of at least 1; got {self.per_epoch!r}; "
                "pass len(loader), the steps of one epoch."
            )

    def __call__(self, step: int) -> bool:
        return (step if self.per_epoch is None else step % self.per_epoch) < self.k


@dataclass(frozen=True, init=False)
class epochs:
    """At the first steps of the epochs named: epochs(0, 5, 10, per_epoch=len(loader)).

    Attributes:
        which: Numbers of the epochs, counted from 0: K of Algorithm 1.
        per_epoch: Steps in an epoch.
        minibatches: Steps of such an epoch at which to jump, from its first on, each with its own minibatch.
    """

    which: frozenset[int]
    per_epoch: int
    minibatches: int = 1

    def __init__(self, *which: int | Iterable[int], per_epoch: int, minibatches: int = 1):
        flat = [e for many in which for e in (many if isinstance(many, Iterable) else [many])]
        if wrong := [e for e in flat if not is_whole(e)]:
            raise ValueError(
                f"epochs: epochs must be whole numbers, counted from 0; got {', '.join(map(repr, wrong[:3]))}; "
                "write epochs(0, 5, per_epoch=len(loader))."
            )
        whole = is_whole(per_epoch, least=1) and is_whole(minibatches, least=1)
        if not whole or minibatches > per_epoch:
            raise ValueError(
                f"epochs: per_epoch must be at least 1, and minibatches between 1 and that; got {per_epoch!r} and "
                f"{minibatches!r}; pass per_epoch=len(loader), the steps of one epoch."
            )
        object.__setattr__(self, "which", frozenset(flat))
        object.__setattr__(self, "per_epoch", per_epoch)
        object.__setattr__(self, "minibatches", minibatches)

    def __call__(self, step: int) -> bool:
        epoch, minibatch = divmod(step, self.per_epoch)
        return epoch in self.which and minibatch < self.minibatches
