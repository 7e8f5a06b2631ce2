"""Matrix factorization: the smallest linear network, with its full linear group."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import GeneralLinear
from isoloss.problems._checks import check_last_axis
from isoloss.problems._numbers import right_quotient


@dataclass(frozen=True, eq=False)
class MatrixFactorization:
    r"""The squared Frobenius distance of a matrix to a product of thin factors.

    .. math:: L(U, V) = |Y - U V|^2, \qquad g \cdot (U, V) = (U g^{-1}, g V), \quad g \in GL_r

    A point is the rows of U followed by the rows of V. The orbits do not fill the level sets: these have dimension
    r (m + n) - 1 in general, an orbit :math:`r^2`. The least value is the sum of the squares of the singular values
    of Y beyond the r largest (Eckart and Young).

    Args:
        target: Y, ``(*parameters, m, n)``; by default the 3 x 2 matrix with singular values 2 and 1 on its diagonal.
        rank: r, the number of columns of U.

    Raises:
        ValueError: If Y is no matrix or the rank is below 1.

    References:
        2022 paper, Section 7; dissertation, Section 4.7. Differs: there (U g, g^{-1} V), an action from the right.
    """

    name: ClassVar[str] = "matrix-factorization"
    target: Tensor = field(
        default_factory=lambda: torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    )
    rank: int = 2

    def __post_init__(self) -> None:
        if self.target.dim() < 2 or self.rank < 1:
            raise ValueError(
                f"MatrixFactorization: the target must be a matrix and the rank at least 1; got shape "
                f"{tuple(self.target.shape)} and rank {self.rank}. Pass (*parameters, m, n)."
            )

    @property
    def size(self) -> int:
        """Entries of both factors."""
        return self.rank * sum(self.target.shape[-2:])

    @property
    def group(self) -> GeneralLinear:
        """Invertible matrices between the factors."""
        return GeneralLinear(self.rank)

    @property
    def minimum(self) -> Tensor:
        """What the best approximation of this rank leaves."""
        return torch.linalg.svdvals(self.target)[..., self.rank :].square().sum(-1)

    @property
    def minimizer(self) -> Tensor:
        """The balanced best approximation: :math:`U^T U = V V^T`."""
        u, s, v = torch.linalg.svd(self.target, full_matrices=False)
        r = min(self.rank, s.shape[-1])
        root = s[..., :r].sqrt()
        spare = self.rank - r
        left = torch.nn.functional.pad(u[..., :r] * root.unsqueeze(-2), (0, spare))
        right = torch.nn.functional.pad(root.unsqueeze(-1) * v[..., :r, :], (0, 0, 0, spare))
        return self.join(left, right)

    def split(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The factors U ``(*batch, m, r)`` and V ``(*batch, r, n)`` of a point."""
        m, n = self.target.shape[-2:]
        left = w[..., : m * self.rank].unflatten(-1, (m, self.rank))
        return left, w[..., m * self.rank :].unflatten(-1, (self.rank, n))

    def join(self, left: Tensor, right: Tensor) -> Tensor:
        """The point with these factors."""
        return torch.cat([left.flatten(-2), right.flatten(-2)], -1)

    def __call__(self, w: Tensor) -> Tensor:
        """The value at every point."""
        check_last_axis("MatrixFactorization", w, self.size)
        left, right = self.split(w)
        return (self.target.to(w) - left @ right).square().sum((-2, -1))

    def act(self, g: Tensor, w: Tensor) -> Tensor:
        """Change the basis between the factors."""
        check_last_axis("MatrixFactorization.act", w, self.size)
        if g.shape[-2:] != (self.rank, self.rank):
            raise ValueError(
                f"MatrixFactorization.act: elements must have shape (*batch, {self.rank}, {self.rank}); got "
                f"{tuple(g.shape)}. Draw them from `group`."
            )
        left, right = self.split(w)
        g = g.to(w)
        return self.join(*_same_batch(right_quotient(left, g), g @ right))


def _same_batch(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return left.expand(*batch, *left.shape[-2:]), right.expand(*batch, *right.shape[-2:])
