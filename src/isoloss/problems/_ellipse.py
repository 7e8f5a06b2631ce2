"""The ellipse: the smallest example in which one teleport is enough."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss._checks import holds
from isoloss.problems._numbers import beside
from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True, eq=False)
class Ellipse(SumOfSquares):
    r"""A quadratic function of two variables, along the axes.

    .. math:: L(x) = x_1^2 + a x_2^2, \qquad h(x) = (x_1, \sqrt a\, x_2)

    Args:
        a: Ratio of the two curvatures, a number or a batch of them.

    Raises:
        ValueError: If a is not positive.

    References:
        Dissertation, eqs. (C.1) to (C.3). Differs: there a may be 0, but then the action divides by 0.
    """

    name: ClassVar[str] = "ellipse"
    a: float | Tensor = 4.0

    def __post_init__(self) -> None:
        if not holds(torch.as_tensor(self.a) > 0):
            raise ValueError(
                f"Ellipse: a must be positive; got {torch.as_tensor(self.a).min():.4g}. With a = 0 the second variable "
                "is free: no ellipse, and eq. (C.2) divides by zero."
            )

    @property
    def size(self) -> int:
        """Two."""
        return 2

    def residual(self, w: Tensor) -> Tensor:
        """The variables in which the ellipse is a circle."""
        return torch.stack(torch.broadcast_tensors(w[..., 0], w[..., 1] * self._root(w)), -1)

    def point(self, u: Tensor) -> Tensor:
        """The inverse of `residual`."""
        return torch.stack(torch.broadcast_tensors(u[..., 0], u[..., 1] / self._root(u)), -1)

    def _root(self, like: Tensor) -> Tensor:
        return beside(self.a, like).sqrt()
