"""A matrix of activations, factored so that its rank is seen: the only place where anything is pseudo-inverted."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Factor:
    r"""The singular value decomposition :math:`S = Q \Sigma W^T` without the singular values below the cut-off.

    Attributes:
        left: Q, shape (H, r), orthonormal columns that span those of S.
        singular: The r singular values that were kept, largest first.
        right: W, shape (K, r), orthonormal columns that span the rows of S.
        cutoff: Singular values up to this fraction of the largest were taken for zero.
    """

    left: Tensor
    singular: Tensor
    right: Tensor
    cutoff: float

    @classmethod
    def of(cls, s: Tensor, cutoff: float | None = None) -> "Factor":
        """Factor a matrix.

        A float64 matrix goes through the singular value decomposition. Others are widened to float64, where the
        eigenvalues of the smaller Gram matrix give the same at a fraction of the cost: squaring loses half of the 16
        digits, and the 7 or fewer that the entries have are left.

        Args:
            s: Matrix of shape (H, K).
            cutoff: Relative to the largest singular value; by default max(H, K) eps of the dtype, as in `pinv`.

        Raises:
            ValueError: If s is no matrix of finite numbers.
        """
        if s.dim() != 2 or not bool(s.isfinite().all()):
            raise ValueError(
                f"Factor: needs a matrix of finite numbers; got shape {tuple(s.shape)}, "
                f"{int((~s.isfinite()).sum())} entries not finite; check the inputs and the element."
            )
        if cutoff is None:
            cutoff = max(s.shape) * torch.finfo(s.dtype).eps
        q, sigma, w = _svd(s) if s.dtype == torch.float64 else _by_gram(s.double())
        largest = sigma[0] if len(sigma) else sigma.new_zeros(())
        rank = int((sigma > cutoff * largest).sum())
        return cls(q[:, :rank], sigma[:rank], w[:, :rank], cutoff)

    @property
    def rank(self) -> int:
        """Number of singular values that were kept."""
        return len(self.singular)

    @property
    def condition(self) -> float:
        """Largest over smallest singular value that was kept."""
        return float(self.singular[0] / self.singular[-1]) if self.rank else 1.0

    def right_divide(self, b: Tensor) -> Tensor:
        """The product b S^+ in float64, for b of shape (*, K)."""
        return ((b.to(self.right) @ self.right) / self.singular) @ self.left.mT


def right_divide(b: Tensor, s: Tensor, cutoff: float | None = None) -> Tensor:
    """The product b S^+ in float64, by the cheapest factorization that shows the rank.

    For S of less than float64, a Cholesky factorization of the smaller Gram matrix in float64 comes first. Its
    condition number in the 1-norm bounds that in the spectral norm from above; where it shows that no singular value
    of S is below the cut-off, the factorization is all that is needed. Else, and for float64, see `Factor`.
    """
    if s.dtype != torch.float64 and min(s.shape):
        threshold = max(s.shape) * torch.finfo(s.dtype).eps if cutoff is None else cutoff
        wide = s.double()
        few = s.shape[1] <= s.shape[0]
        gram = wide.mT @ wide if few else wide @ wide.mT
        cholesky = Cholesky(gram)
        if not bool(cholesky.bad):
            norms = gram.abs().sum(0).amax() * cholesky.inverse.abs().sum(0).amax()
            if bool(norms * threshold**2 < 1.0):
                b = b.to(wide)
                return cholesky.divide(b) @ wide.mT if few else cholesky.divide(b @ wide.mT)
    return Factor.of(s, cutoff).right_divide(b)


class Cholesky:
    """Division by a positive definite matrix.

    Args:
        gram: The matrix.
        damping: Added to its diagonal, relative to it.

    Attributes:
        bad: Not zero if the matrix is not positive definite.
    """

    def __init__(self, gram: Tensor, damping: float = 0.0):
        self._n, n = len(gram), len(gram)
        # LAPACK is up to four times slower where rows are a power of two apart: border them by one of the identity.
        if n % 128 == 0 and n > 0:
            n += 1
            gram = pad(gram, (0, 1, 0, 1)).add_(_corner(n, gram.dtype, gram.device))
        elif damping:
            gram = gram.clone()
        if damping:
            gram.diagonal().mul_(1 + damping)
        self._one = _one(n, gram.dtype, gram.device)
        self._factor, self.bad = torch.linalg.cholesky_ex(gram)

    @property
    def pivots(self) -> Tensor:
        """What is left of the diagonal after elimination; none is below the smallest eigenvalue."""
        return self._factor.diagonal()[: self._n].square()

    def divide(self, b: Tensor) -> Tensor:
        """The product of b and the inverse."""
        if 4 * len(b) > self._n:
            return b @ self.inverse
        return torch.cholesky_solve(b.mT, self._factor[: self._n, : self._n]).mT

    @cached_property
    def inverse(self) -> Tensor:
        """The inverse."""
        # Cheaper than cholesky_inverse, which fills in triangles entry by entry.
        half = torch.linalg.solve_triangular(self._factor, self._one, upper=False)
        half = half if len(half) == self._n else half[:, : self._n]
        return half.mT @ half


@lru_cache(maxsize=16)
def _one(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.eye(n, dtype=dtype, device=device)


@lru_cache(maxsize=16)
def _corner(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    corner = torch.zeros(n, n, dtype=dtype, device=device)
    corner[-1, -1] = 1.0
    return corner


def _svd(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, sigma, wt = torch.linalg.svd(s, full_matrices=False)
    return q, sigma, wt.mT


def _by_gram(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if s.shape[0] < s.shape[1]:
        w, sigma, q = _by_gram(s.mT)
        return q, sigma, w
    squares, w = torch.linalg.eigh(s.mT @ s)
    sigma, w = squares.clamp_min(0).sqrt().flip(0), w.flip(1)
    return s @ (w / sigma.clamp_min(torch.finfo(s.dtype).tiny)), sigma, w
