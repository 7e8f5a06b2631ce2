"""The Rosenbrock function: a narrow curved valley, easy to enter and slow to follow."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True)
class Rosenbrock(SumOfSquares):
    r"""The Rosenbrock function of 2N variables, as a sum over N pairs.

    .. math::
        L(x) = \sum_{i=1}^N 100 (x_{2i-1}^2 - x_{2i})^2 + (x_{2i-1} - 1)^2, \qquad
        h(x) = \bigl(10 (x_{2i-1}^2 - x_{2i}),\ x_{2i-1} - 1\bigr)_{i=1}^N

    All of :math:`O(2N)` acts, not only one rotation per pair. The other function of this name, a chain in which
    neighbours share a variable, has :math:`2N - 1` pairs for :math:`2N` variables, and this action does not keep it.

    Args:
        pairs: The number N.

    References:
        2022 paper, eq. (3); dissertation, eqs. (4.3), (4.5) to (4.8).
    """

    name: ClassVar[str] = "rosenbrock"
    pairs: int = 1

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(
                f"Rosenbrock: pairs must be at least 1; got {self.pairs}. Count pairs of variables."
            )

    @property
    def size(self) -> int:
        """Two per pair."""
        return 2 * self.pairs

    def residual(self, w: Tensor) -> Tensor:
        """Eq. (4.6), pair by pair."""
        x, y = w[..., ::2], w[..., 1::2]
        return torch.stack([10 * (x.square() - y), x - 1], -1).flatten(-2)

    def point(self, u: Tensor) -> Tensor:
        """Eq. (4.6), backwards."""
        x = u[..., 1::2] + 1
        return torch.stack([x, x.square() - u[..., ::2] / 10], -1).flatten(-2)
