"""The elements of the Lie algebra that are learned."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Generators(nn.Module):
    r"""k matrices :math:`h_i \in \mathfrak{gl}(m)`, any.

    Args:
        count: k.
        size: m.
    """

    def __init__(self, count: int, size: int):
        super().__init__()
        self.entries = nn.Parameter(torch.randn(count, size, size) / size)

    def forward(self) -> Tensor:
        """(k, m, m)."""
        return self.entries


class AffineGenerators(Generators):
    """Of maps theta -> A theta + b, as matrices of one row more, which is zero."""

    def __init__(self, count: int, size: int):
        super().__init__(count, size)
        with torch.no_grad():
            self.entries[:, -1] = 0.0

    def forward(self) -> Tensor:
        """(k, m, m)."""
        return pad(self.entries[:, :-1], (0, 0, 0, 1))


class LowRankGenerators(nn.Module):
    r"""k matrices :math:`h_i = U_i V_i^T` of rank r.

    Args:
        count: k.
        size: m.
        rank: r.
    """

    def __init__(self, count: int, size: int, rank: int):
        super().__init__()
        self.left = nn.Parameter(torch.randn(count, size, rank) / size**0.5)
        self.right = nn.Parameter(torch.randn(count, size, rank) / size**0.5)

    def forward(self) -> Tensor:
        """(k, m, m)."""
        return self.left @ self.right.mT
