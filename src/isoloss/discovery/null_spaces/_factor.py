"""The triangular factor of many rows that come in blocks."""

import torch
from torch import Tensor


class Factor:
    r"""R with :math:`R^T R = \sum_i m_i m_i^T` over all rows so far, without ever forming the right-hand side.

    The Gram matrix squares singular values, so that in float64 it hides those below 1e-8 of the largest; there a
    symmetry and what is almost one look the same. Decomposing R again with each block keeps them down to 1e-16.

    Args:
        columns: Length of the rows.
    """

    def __init__(self, columns: int):
        self.triangle = torch.zeros(0, columns, dtype=torch.float64)
        self.count = 0

    def add(self, rows: Tensor) -> None:
        """Take in rows of shape (some, columns)."""
        self.count += len(rows)
        self.triangle = torch.cat([self.triangle, rows])
        if len(self.triangle) > self.triangle.shape[1]:
            self.triangle = torch.linalg.qr(self.triangle, mode="r").R

    @property
    def mean(self) -> Tensor:
        """The factor of the mean instead of the sum."""
        return self.triangle / max(1, self.count) ** 0.5
