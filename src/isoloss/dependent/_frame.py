"""The frame R(S): an invertible matrix that begins with S and varies smoothly with it."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from isoloss.dependent._factor import Factor


@dataclass(frozen=True)
class Complement:
    r"""The orthonormal complement :math:`C = \mathcal H E` of the span of S, kept as a reflection of rank k.

    .. math:: \mathcal H = I - M (I + \Pi)^{-1} M^T, \quad M = F + \tilde Q, \quad F^T \tilde Q = \Pi > 0

    It is the polar factor of :math:`(I - P_S) E`, where :math:`[F \mid E]` is a fixed orthogonal matrix.

    Attributes:
        fixed: F, shape (h, k).
        mirror: M, shape (h, k).
        inverse: The inverse of I + Pi, shape (k, k); its condition number is at most 2.

    References:
        docs/dependent.md; makes Lemma A.3.6 of the dissertation constructive.
    """

    fixed: Tensor
    mirror: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, factor: Factor) -> "Complement":
        """The complement of the columns of a matrix that was factored."""
        q = factor.left
        fixed = _fixed(q.shape[0], factor.rank).to(q)
        a, pi, bt = torch.linalg.svd(fixed.mT @ q)
        mirror = fixed + q @ (bt.mT @ a.mT)
        return cls(fixed, mirror, (a / (1 + pi)) @ a.mT)

    def reflect(self, u: Tensor) -> Tensor:
        """The product u H, for u of shape (*, h)."""
        return u - ((u @ self.mirror) @ self.inverse) @ self.mirror.mT

    def coordinates(self, u: Tensor) -> Tensor:
        """The product u H (I - F F^T): u C, written in the fixed basis E."""
        u = self.reflect(u)
        return u - (u @ self.fixed) @ self.fixed.mT


@lru_cache(maxsize=64)
def _fixed(h: int, k: int) -> Tensor:
    # Random, not coordinate axes: units that are dead on the batch would be orthogonal to those.
    draw = torch.randn(h, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(draw).Q


def frame(s: Tensor) -> Tensor:
    """The frame of S as a dense matrix, for looking at: its first k columns are S, the others the complement.

    Args:
        s: Activations of shape (h, k), of full column rank.

    Raises:
        ValueError: If the columns are dependent.
    """
    factor = Factor.of(s)
    if factor.rank < s.shape[1]:
        raise ValueError(
            f"frame: the columns must be independent; got {tuple(s.shape)} of rank {factor.rank}; "
            "a frame needs no more samples than units, none twice."
        )
    complement = Complement.of(factor)
    fixed = complement.fixed
    e = torch.linalg.svd(torch.eye(len(s)).to(fixed) - fixed @ fixed.mT).U[:, : len(s) - factor.rank]
    return torch.cat([s.to(fixed), complement.reflect(e.mT).mT], 1).to(s)
