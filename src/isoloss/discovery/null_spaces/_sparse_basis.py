"""An orthonormal basis of few entries, in which generators can be read."""

import torch
from torch import Tensor

# Sweeps at the most; near a maximum each squares the error.
SWEEPS = 200


def sparse_basis(rows: Tensor) -> Tensor:
    r"""Rotate orthonormal rows so that few entries are large.

    .. math:: \max_{R \in O(k)} \; \sum_{i, j} (R A)_{ij}^4

    The reduced row echelon form, pivots chosen by an LU decomposition, made orthonormal by its polar factor, is
    where the search starts. The function is convex, so that the polar factor of its derivative,
    :math:`\operatorname{polar}(A_+^{3} A^T)`, never lets it fall. If some basis has disjoint supports the echelon form
    already finds it. A local maximum otherwise; the span is the same to rounding in any case.

    Args:
        rows: Orthonormal, (k, m).

    Returns:
        (k, m), ordered by the place of the largest entry, which is positive; the first of equal ones.
    """
    if not len(rows):
        return rows
    pivots, _, _ = torch.linalg.lu(rows.T)
    chosen = pivots.argmax(0)[: len(rows)]
    basis = _polar(torch.linalg.solve(rows[:, chosen], rows))
    for _ in range(SWEEPS):
        turn = _polar(basis**3 @ basis.T)
        basis = turn @ basis
        if bool((turn - torch.eye(len(turn), dtype=turn.dtype)).abs().max() < 1e-14):
            break
    # The first of those that are as large as any: equal ones differ by rounding.
    large = basis.abs() > (1 - 1e-6) * basis.abs().amax(1, keepdim=True)
    places = (large * torch.arange(basis.shape[1], 0, -1)).argmax(1)
    signs = basis.gather(1, places[:, None]).sign()
    return (basis * signs)[places.argsort(stable=True)]


def _polar(a: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(a, full_matrices=False)
    return u @ vh
