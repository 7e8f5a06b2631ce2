"""What a baseline is: a fixed rule of descent, run on many tasks and at many learning rates at once."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, overload

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from isoloss._checks import is_length, is_whole
from isoloss.learn._rollout import Rollout
from isoloss.learn._tensors import Tensors
from isoloss.learn.baselines._batch import beside, chosen, norms, repeated
from isoloss.learn.baselines._landing import Landing
from isoloss.learn.tasks import Draw, Tasks

State = tuple[Tensors, ...]
"""What a rule remembers: tensors like the weights, by name."""


class Baseline(ABC):
    """An optimizer that learns nothing. A new one is one file here and one line in `BASELINES`.

    Attributes:
        name: Its name in `BASELINES`.
    """

    name: ClassVar[str]

    @abstractmethod
    def update(self, gradient: Tensors, state: State, step: int) -> tuple[Tensors, State]:
        """How the weights move, per unit of the learning rate and downwards, and what is remembered.

        Args:
            gradient: (m, *shape) by name; the runs are independent.
            state: From `start` or the step before.
            step: Counted from 0.
        """

    def start(self, parameters: Tensors) -> State:
        """What is remembered before the first step: nothing."""
        return ()

    def teleport(
        self, tasks: Tasks, parameters: Tensors, data: Tensors, step: int, *, whole: bool
    ) -> Landing | None:
        """Move the weights before a step; None if this step does not.

        Args:
            tasks: What the optimizees are.
            parameters: Where they are, (m, *shape) by name.
            data: What the step sees of their data, likewise.
            step: Counted from 0.
            whole: Whether it sees all of them.
        """
        return None

    @overload
    def run(
        self,
        tasks: Tasks,
        draw: Draw,
        steps: int,
        rate: float,
        generator: torch.Generator | None = None,
    ) -> Rollout: ...

    @overload
    def run(
        self,
        tasks: Tasks,
        draw: Draw,
        steps: int,
        rate: Tensor | Sequence[float],
        generator: torch.Generator | None = None,
    ) -> tuple[Rollout, ...]: ...

    def run(
        self,
        tasks: Tasks,
        draw: Draw,
        steps: int,
        rate: float | Tensor | Sequence[float],
        generator: torch.Generator | None = None,
    ) -> Rollout | tuple[Rollout, ...]:
        """Optimize n tasks, at one learning rate or at several: all of it is one batch.

        A run whose loss is not finite stays where it last was, shows inf from there on, and touches no other.

        Args:
            tasks: What the optimizees are.
            draw: Those to run on; it is left as it is.
            steps: Number of steps.
            rate: The learning rate, or r of them.
            generator: Of minibatches; a step sees the same one at all rates.

        Returns:
            A rollout for one rate, else a rollout per rate.

        Raises:
            ValueError: If there are no steps, or a rate is not positive.
        """
        rates = [rate] if isinstance(rate, int | float) else [float(r) for r in rate]
        if not is_whole(steps, least=1):
            raise ValueError(f"{type(self).__name__}.run: there must be at least 1 step; got {steps!r}.")
        if not rates or not all(is_length(r) and r > 0 for r in rates):
            raise ValueError(
                f"{type(self).__name__}.run: learning rates must be positive; got {rate!r}. Pass one or several."
            )
        rollouts = _run(self, tasks, draw, steps, rates, generator)
        return rollouts[0] if isinstance(rate, int | float) else rollouts


@torch.no_grad()
def _run(
    baseline: Baseline,
    tasks: Tasks,
    draw: Draw,
    steps: int,
    rates: Sequence[float],
    generator: torch.Generator | None,
) -> tuple[Rollout, ...]:
    """Rates times tasks, folded into one batch of independent runs."""
    value, slope = vmap(tasks.loss), vmap(grad_and_value(tasks.loss))
    data = repeated(draw.data, len(rates))
    w = last = repeated(draw.parameters, len(rates))
    first = next(iter(w.values()))
    rate = torch.as_tensor(rates, dtype=first.dtype, device=first.device).repeat_interleave(draw.size)
    alive = torch.ones_like(rate, dtype=torch.bool)
    state = baseline.start(w)
    losses, lengths, landings = [], [], {}
    for step in range(steps):
        seen = tasks.minibatch(draw.data, generator)
        whole = seen is draw.data
        seen = data if whole else repeated(seen, len(rates))
        gradient, loss = slope(w, seen)
        loss = loss if whole else value(w, data)
        alive = alive & loss.isfinite()
        losses.append(torch.where(alive, loss, torch.inf))
        # What has diverged waits where it was finite: decompositions refuse numbers that are none.
        w = last = chosen(alive, w, last)
        landing = baseline.teleport(tasks, w, seen, step, whole=whole)
        if landing is not None:
            landings[step], w = landing, landing.parameters
            gradient, _ = slope(w, seen)
        move, state = baseline.update(gradient, state, step)
        w = {name: x - beside(rate, x) * move[name] for name, x in w.items()}
        length = rate * norms(move) / norms(gradient)
        lengths.append(torch.where(alive & length.isfinite(), length, 0.0))
    loss = value(w, data)
    losses.append(torch.where(alive & loss.isfinite(), loss, torch.inf))
    return _rollouts(losses, lengths, landings, (len(rates), draw.size))


def _rollouts(
    losses: list[Tensor], lengths: list[Tensor], landings: dict[int, Landing], fold: tuple[int, int]
) -> tuple[Rollout, ...]:
    """A rollout per rate, from what was recorded of (r * n,) runs."""

    def split(rows: list[Tensor]) -> tuple[Tensor, ...]:
        recorded = torch.stack(rows) if rows else losses[0].new_empty(0, fold[0] * fold[1])
        return recorded.unflatten(1, fold).unbind(1)

    jumps = tuple(landings)
    gains = split([landing.gains for landing in landings.values()])
    changes = split([landing.changes for landing in landings.values()])
    sizes = split([landing.sizes for landing in landings.values()])
    return tuple(
        Rollout(run, jumps, gain, change, size, length)
        for run, gain, change, size, length in zip(
            split(losses), gains, changes, sizes, split(lengths), strict=True
        )
    )
