"""The family of ellipses on which learned teleportation was tried."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from isoloss._checks import holds
from isoloss.problems._numbers import beside, solve, times
from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True, eq=False)
class GeneralizedBooth(SumOfSquares):
    r"""The squared norm of an affine map.

    .. math:: L(w) = |A w + b|^2

    The Booth function has A = [[1, 2], [2, 1]] and b = (-7, -5). The default is the fixed objective of Figure 3,
    A = diag(0.5, 3) and b = 0.

    Args:
        matrix: A, ``(*parameters, n, n)``.
        shift: b, ``(*parameters, n)``, or 0.

    Raises:
        ValueError: If A is not square or singular, or b does not fit.

    References:
        2025 paper, Section 5.1.1. Differs: any number of variables.
    """

    name: ClassVar[str] = "generalized-booth"
    matrix: Tensor = field(default_factory=lambda: torch.diag(torch.tensor([0.5, 3.0], dtype=torch.float64)))
    shift: Tensor | float = 0.0

    def __post_init__(self) -> None:
        a, b = self.matrix, torch.as_tensor(self.shift)
        if a.dim() < 2 or a.shape[-1] != a.shape[-2]:
            raise ValueError(
                f"GeneralizedBooth: the matrix must be square; got {tuple(a.shape)}. Pass (*parameters, n, n)."
            )
        if b.dim() and b.shape[-1] != a.shape[-1]:
            raise ValueError(
                f"GeneralizedBooth: the shift must have {a.shape[-1]} entries; got {tuple(b.shape)}. "
                "Pass (*parameters, n)."
            )
        singular = torch.linalg.svdvals(a)
        if not holds(singular[..., -1] > a.shape[-1] * torch.finfo(a.dtype).eps * singular[..., 0]):
            raise ValueError(
                f"GeneralizedBooth: the matrix must be invertible; got a smallest singular value of "
                f"{singular[..., -1].min():.4g}. The rotation acts through its inverse."
            )

    @classmethod
    def sample(
        cls, batch: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> "GeneralizedBooth":
        """Draw members of Figure 4: every entry of A (2 x 2) and b standard normal."""
        draw = torch.randn(*batch, 2, 3, generator=generator, dtype=torch.float64)
        return cls(draw[..., :2], draw[..., 2])

    @property
    def size(self) -> int:
        """The side of the matrix."""
        return self.matrix.shape[-1]

    def residual(self, w: Tensor) -> Tensor:
        """A w + b."""
        return times(self.matrix.to(w), w) + beside(self.shift, w)

    def point(self, u: Tensor) -> Tensor:
        """A^{-1} (u - b)."""
        return solve(self.matrix.to(u), u - beside(self.shift, u))
