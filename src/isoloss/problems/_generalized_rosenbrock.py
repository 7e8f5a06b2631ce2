"""The family of curved valleys on which learned teleportation was tried."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss._checks import holds
from isoloss.problems._numbers import beside
from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True, eq=False)
class GeneralizedRosenbrock(SumOfSquares):
    r"""The squared norm of a shear followed by a scaling, with polynomials c and d.

    .. math:: L(x, y) = (c(x)\, y + d(x))^2 + (a x + b)^2, \qquad h(x, y) = (c(x)\, y + d(x),\ a x + b)

    The Rosenbrock function has a = 1, b = -1, c = -10 and d = 10 x^2. The default is the fixed objective of Figure 5:
    a = 1, b = -1, c = -2, d = 0.4 x^2.

    The paper calls h invertible for all a, b, c, d. It is so exactly if a is not 0 and c has no real zero: where
    c(x) = 0 the value does not depend on y, and the action divides by zero. Constants c other than 0 are safe.

    Args:
        a: Slope of the second residual, a number or ``(*parameters)``.
        b: Its offset.
        c: Coefficients of c, the constant one first, ``(*parameters, p)``.
        d: Coefficients of d, likewise.

    Raises:
        ValueError: If a is 0, or c a constant equal to 0. Zeros of a polynomial c are not searched for.

    References:
        2025 paper, Section 5.1.1.
    """

    name: ClassVar[str] = "generalized-rosenbrock"
    a: float | Tensor = 1.0
    b: float | Tensor = -1.0
    c: tuple[float, ...] | Tensor = (-2.0,)
    d: tuple[float, ...] | Tensor = (0.0, 0.0, 0.4)

    def __post_init__(self) -> None:
        a, c = torch.as_tensor(self.a), torch.as_tensor(self.c)
        if not holds(a != 0) or (c.shape[-1] == 1 and not holds(c != 0)):
            raise ValueError(
                f"GeneralizedRosenbrock: a and c must not be 0; got a = {self.a}, c = {self.c}. "
                "Only then is the change of variables invertible."
            )

    @classmethod
    def sample(
        cls, batch: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> "GeneralizedRosenbrock":
        """Draw members of Figure 6: a, b, a constant c, and d = d1 x^2 + d2 x + d3, all standard normal."""
        draw = torch.randn(*batch, 6, generator=generator, dtype=torch.float64)
        return cls(draw[..., 0], draw[..., 1], draw[..., 2:3], draw[..., 3:])

    @property
    def size(self) -> int:
        """Two."""
        return 2

    def residual(self, w: Tensor) -> Tensor:
        """The map h."""
        x, y = w.unbind(-1)
        a, b, c, d = self._at(x)
        return torch.stack(torch.broadcast_tensors(c * y + d, a * x + b), -1)

    def point(self, u: Tensor) -> Tensor:
        """The inverse of h, where c has no zero."""
        u, v = u.unbind(-1)
        a, b, _, _ = self._at(v)
        x = (v - b) / a
        _, _, c, d = self._at(x)
        return torch.stack(torch.broadcast_tensors(x, (u - d) / c), -1)

    def _at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return beside(self.a, x), beside(self.b, x), _polynomial(self.c, x), _polynomial(self.d, x)


def _polynomial(coefficients: tuple[float, ...] | Tensor, x: Tensor) -> Tensor:
    """Horner's rule."""
    value = torch.zeros_like(x)
    for coefficient in beside(coefficients, x).unbind(-1)[::-1]:
        value = value * x + coefficient
    return value
