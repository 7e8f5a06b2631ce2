"""Positive definite quadratic forms: where the theory of teleportation is complete."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import log10
from typing import ClassVar

import torch
from torch import Tensor

from isoloss._checks import holds
from isoloss.problems._numbers import times
from isoloss.problems._sum_of_squares import SumOfSquares


@dataclass(frozen=True, eq=False)
class QuadraticForm(SumOfSquares):
    r"""A positive definite quadratic form, and :math:`O(n)` acting by conjugation with its square root.

    .. math:: L_A(w) = w^T A w, \qquad g \cdot w = A^{-1/2} g A^{1/2} w

    Only the symmetric part of A enters the value; it is what is stored.

    Args:
        matrix: A, ``(*parameters, n, n)``; by default of 3 variables with eigenvalues 1, 4 and 9 along the axes.

    Raises:
        ValueError: If A is not square, or its symmetric part not positive definite.

    References:
        Dissertation, Section 4.5.3, eqs. (4.33) and (4.34); 2022 paper, eqs. (15) and (16).
    """

    name: ClassVar[str] = "quadratic"
    matrix: Tensor = field(
        default_factory=lambda: torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64))
    )

    def __post_init__(self) -> None:
        a = self.matrix
        if a.dim() < 2 or a.shape[-1] != a.shape[-2]:
            raise ValueError(
                f"QuadraticForm: the matrix must be square; got {tuple(a.shape)}. Pass (*parameters, n, n)."
            )
        object.__setattr__(self, "matrix", (a + a.mT) / 2)
        if not holds(self.spectrum[0] > 0):
            raise ValueError(
                f"QuadraticForm: the matrix must be positive definite; got an eigenvalue of "
                f"{self.spectrum[0].min():.4g}. Only then are the level sets ellipsoids, and one orbit each."
            )

    @classmethod
    def sample(
        cls,
        n: int,
        batch: tuple[int, ...] = (),
        *,
        condition: float = 10.0,
        generator: torch.Generator | None = None,
    ) -> "QuadraticForm":
        """Draw forms with eigenvalues from 1 to ``condition``, evenly in the logarithm, and random eigenvectors."""
        q, _ = torch.linalg.qr(torch.randn(*batch, n, n, generator=generator, dtype=torch.float64))
        values = torch.logspace(0, log10(condition), n, dtype=torch.float64)
        return cls((q * values) @ q.mT)

    @property
    def size(self) -> int:
        """The side of the matrix."""
        return self.matrix.shape[-1]

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues, ascending, and eigenvectors, as columns."""
        return torch.linalg.eigh(self.matrix)

    def residual(self, w: Tensor) -> Tensor:
        """A^{1/2} w."""
        return self._times(torch.sqrt, w)

    def point(self, u: Tensor) -> Tensor:
        """A^{-1/2} u."""
        return self._times(torch.rsqrt, u)

    def _times(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        values, vectors = (part.to(x) for part in self.spectrum)
        return times(vectors, f(values) * times(vectors.mT, x))
