"""The Booth function: a tilted ellipse."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True)
class Booth(SumOfSquares):
    r"""The Booth function, a quadratic form about (1, 3) with eigenvalues 1 and 9.

    .. math:: L(x) = (x_1 + 2 x_2 - 7)^2 + (2 x_1 + x_2 - 5)^2

    References:
        2022 paper, eq. (4); dissertation, eqs. (4.4), (4.9) to (4.11).
    """

    name: ClassVar[str] = "booth"

    @property
    def size(self) -> int:
        """Two."""
        return 2

    def residual(self, w: Tensor) -> Tensor:
        """Eq. (4.9)."""
        x, y = w.unbind(-1)
        return torch.stack([x + 2 * y - 7, 2 * x + y - 5], -1)

    def point(self, u: Tensor) -> Tensor:
        """Eq. (4.9), backwards."""
        u, v = u.unbind(-1)
        return torch.stack([(2 * v - u) / 3 + 1, (2 * u - v) / 3 + 3], -1)
