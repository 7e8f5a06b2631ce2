"""The published runs on test functions, setting by setting."""

from collections.abc import Collection
from dataclasses import dataclass, field
from math import pi

import torch
from torch import Tensor

from isoloss.problems._booth import Booth
from isoloss.problems._descent import Trajectory, descend
from isoloss.problems._problem import Problem
from isoloss.problems._rosenbrock import Rosenbrock
from isoloss.problems._teleports import Ascent, Teleporter


@dataclass(frozen=True, eq=False)
class Run:
    """A setting of gradient descent with teleports.

    Attributes:
        problem: What is minimized.
        start: Where.
        lr: At which rate.
        steps: For how long.
        jumps: Before which steps it is teleported, counted from 0.
        teleport: How.
    """

    problem: Problem
    start: tuple[float, ...]
    lr: float
    steps: int
    jumps: Collection[int] = field(repr=False)
    teleport: Teleporter

    def plain(self, *, lr: float | Tensor | None = None, dtype: torch.dtype = torch.float64) -> Trajectory:
        """One run without teleports; nothing is random in it.

        Args:
            lr: Instead of the published rate: another, or ``(rates,)`` for a sweep, which is then the batch.
            dtype: Of the run.
        """
        rates = torch.as_tensor(self.lr if lr is None else lr, dtype=dtype)
        start = torch.tensor(self.start, dtype=dtype)
        return descend(self.problem, start.expand(*rates.shape, -1), lr=rates, steps=self.steps)

    def teleported(
        self,
        seeds: int = 100,
        *,
        seed: int = 0,
        teleport: Teleporter | None = None,
        lr: float | Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Trajectory:
        """Many runs at once, that differ in the random start of their teleports.

        Args:
            seeds: How many.
            seed: Of the generator that all draw from.
            teleport: Instead of the published one; a control, say.
            lr: Instead of the published rate: another, or ``(rates,)`` for a sweep; the batch is ``(rates, seeds)``.
            dtype: Of the runs. The published code runs in float32.
        """
        rates = torch.as_tensor(self.lr if lr is None else lr, dtype=dtype).unsqueeze(-1)
        return descend(
            self.problem,
            torch.tensor(self.start, dtype=dtype).expand(*rates.shape[:-1], seeds, -1),
            lr=rates,
            steps=self.steps,
            jumps=self.jumps,
            teleport=teleport or self.teleport,
            generator=torch.Generator().manual_seed(seed),
        )


# The published code takes 10 gradients per teleport but returns the element it had before the last step: 9 steps
# count. "Every 100 steps" is before steps 99, 199, ...; "before epoch 5" is before the fifth step.
ROSENBROCK = Run(
    Rosenbrock(),
    (-1.0, -1.0),
    lr=1e-3,
    steps=1000,
    jumps=range(99, 1000, 100),
    teleport=Ascent(9, 0.1, (0.0, pi)),
)
"""2022 paper, Figure 2; dissertation, Figures 4.3 and 4.4, upper rows."""

BOOTH = Run(Booth(), (5.0, -5.0), lr=0.08, steps=10, jumps=(4,), teleport=Ascent(9, 1e-3, (0.0, pi)))
"""2022 paper, Figure 2; dissertation, Figures 4.3 and 4.4, lower rows."""
