"""What is minimized: a weighted sum over the steps of some function of the losses."""

from collections.abc import Callable

import torch
from torch import Tensor

WEIGHTS: dict[str, Callable[[int], Tensor]] = {
    "uniform": lambda steps: torch.ones(steps),
    "linear": lambda steps: torch.arange(1, steps + 1) / steps,
    "last": lambda steps: torch.eye(steps)[-1],
}
"""The w_t of Algorithm 1 by name: for a number of steps, (steps,), not normalized."""

OBJECTIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda losses: losses.clamp_min(torch.finfo(losses.dtype).tiny).log(),
    "value": lambda losses: losses,
}
"""Functions of the losses by name. The logarithm counts factors; 0 counts as the least number."""


def objective(losses: Tensor, weights: str, kind: str) -> Tensor:
    """The meta-loss of every task, (n,), from losses (steps, n).

    References:
        2025 paper, Section 3.2 and Algorithm 1; there the sum is not divided by that of the weights.
    """
    w = WEIGHTS[weights](len(losses)).to(losses)
    return (w[:, None] * OBJECTIVES[kind](losses)).sum(0) / w.sum()
