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

FLOOR = 1e-20
"""Part of its first loss below which a task counts as solved: what rounding does there must not be learned from."""

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "log": lambda losses, first: (losses.clamp_min(0) + FLOOR * first + torch.finfo(losses.dtype).tiny).log(),
    "value": lambda losses, first: losses,
}
"""Functions of the losses (steps, n) and of the first ones (n,) by name. The logarithm counts factors."""


def objective(losses: Tensor, weights: str, kind: str, first: Tensor) -> Tensor:
    """The meta-loss of every task, (n,).

    Args:
        losses: After every step, (steps, n).
        weights: A name in `WEIGHTS`.
        kind: A name in `OBJECTIVES`.
        first: Where the tasks started, (n,).

    References:
        2025 paper, Section 3.2 and Algorithm 1; there the sum is not divided by that of the weights.
    """
    w = WEIGHTS[weights](len(losses)).to(losses)
    return (w[:, None] * OBJECTIVES[kind](losses, first)).sum(0) / w.sum()
