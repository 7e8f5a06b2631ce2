"""Gradient descent on a test problem, with jumps along the level set, for a batch of runs at once."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from isoloss.problems._numbers import beside
from isoloss.problems._problem import Problem
from isoloss.problems._teleports import Teleporter, squared_gradient


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A batch of runs.

    Attributes:
        points: ``(steps + 1, *batch, size)``: where every step starts, after the jump if there was one, and the end.
        losses: ``(steps + 1, *batch)``, there. The published figures end at the last but one.
        squared_gradients: Likewise.
        jumps: The steps before which the runs jumped, ascending.
        departures: Where the jumps started, ``(jumps, *batch, size)``; they led to ``points[jumps]``.
        gains: By how much each jump raised the squared gradient, ``(jumps, *batch)``.
        changes: What each jump did to the loss, relative to it, ``(jumps, *batch)``: rounding.
    """

    points: Tensor
    losses: Tensor
    squared_gradients: Tensor
    jumps: tuple[int, ...]
    departures: Tensor
    gains: Tensor
    changes: Tensor

    def steps_to(self, loss: float) -> Tensor:
        """How many steps each run takes to come down to this loss; infinity if it never does."""
        below = self.losses <= loss
        return torch.where(below.any(0), below.int().argmax(0).double(), torch.inf)


def descend(
    problem: Problem,
    start: Tensor,
    *,
    lr: float | Tensor,
    steps: int,
    jumps: Collection[int] = (),
    teleport: Teleporter | None = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Descend along the gradient; before some steps, jump on the level set.

    Args:
        problem: What to minimize.
        start: Where every run starts, ``(*batch, size)``; its dtype is that of the runs.
        lr: Learning rate, one for all runs or ``(*batch)``: a sweep is a batch.
        steps: Number of gradient steps.
        jumps: Before which steps to jump, counted from 0 (the set K of Algorithm 1).
        teleport: Chooses the group elements.
        generator: The only source of random numbers.

    Raises:
        ValueError: If there are jumps but nothing to choose them, or one is before no step of the run.

    References:
        2022 paper, Algorithm 1; dissertation, Section 4.3.
    """
    if jumps and teleport is None:
        raise ValueError(
            f"descend: jumps need a teleport; got jumps {sorted(jumps)}, None. Pass Ascent() or another."
        )
    if beyond := [jump for jump in jumps if jump not in range(steps)]:
        raise ValueError(
            f"descend: jumps must be steps of the run, 0 to {steps - 1}; got {beyond[0]!r} of {steps} steps; "
            "steps are counted from 0."
        )
    slope = grad(lambda w: problem(w).sum())
    rate = beside(lr, start).unsqueeze(-1)
    w, points, departures = start, [], []
    for step in range(steps):
        if step in jumps and teleport is not None:
            departures.append(w)
            w = problem.act(teleport(problem, w, generator), w).detach()
        points.append(w)
        w = w - rate * slope(w)
    points = torch.stack([*points, w])
    taken = tuple(step for step in range(steps) if step in jumps)
    left = torch.stack(departures) if departures else points[:0]
    return _measured(problem, points, taken, left)


def _measured(problem: Problem, points: Tensor, jumps: tuple[int, ...], departures: Tensor) -> Trajectory:
    losses, squares = problem(points), squared_gradient(problem, points)
    before, where = problem(departures), list(jumps)
    return Trajectory(
        points,
        losses,
        squares,
        jumps,
        departures,
        gains=squares[where] / squared_gradient(problem, departures),
        changes=(losses[where] - before) / before,
    )
