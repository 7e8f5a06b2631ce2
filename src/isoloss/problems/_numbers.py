"""Parameters of problems beside points: numbers or tensors, and products and quotients of batches."""

import torch
from torch import Tensor


def beside(value: float | tuple[float, ...] | Tensor, w: Tensor) -> Tensor:
    """Give the value the dtype and device of w. A plain ``as_tensor`` would round a number to float32 on the way."""
    return torch.as_tensor(value, dtype=w.dtype, device=w.device)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """Matrices ``(*batch, m, n)`` times vectors ``(*batch, n)``, batches broadcast."""
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def solve(matrix: Tensor, x: Tensor) -> Tensor:
    """The inverse of the matrices times the vectors, batches broadcast."""
    return right_quotient(x.unsqueeze(-2), matrix.mT).squeeze(-2)


def right_quotient(x: Tensor, g: Tensor) -> Tensor:
    """The matrices x times the inverse of g, batches broadcast.

    ``linalg.solve`` takes x for a batch of vectors if its shape happens to be ``g.shape[:-1]``; equal numbers of
    dimensions rule that out.
    """
    batch = torch.broadcast_shapes(x.shape[:-2], g.shape[:-2])
    return torch.linalg.solve(g.expand(*batch, *g.shape[-2:]), x.expand(*batch, *x.shape[-2:]), left=False)
