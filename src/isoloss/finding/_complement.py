"""What is orthogonal to a growing set of rows: the null space of a matrix that comes in blocks."""

from typing import NamedTuple

import torch
from torch import Tensor

# Rows taken at a time: enough for fast matrix products, few enough that their own decomposition costs little.
BLOCK = 256
# Relative to the longest row, rounding leaves about this much of what should be zero: 45 eps, sums of some 1000 terms.
ROUNDING = 1e-14
# Influences above this certainly count; the eps = 1e-5 of a norm leaves 1e-6 or less, in deep nets 1e-9.
SMALL = 1e-8
# Influences above this are rotated out at once. A direction is known to ROUNDING over its influence; by that much
# the others are off, so a small one must wait until all rows can be judged together.
PLAIN = 1e-4


class Null(NamedTuple):
    """The size of a null space, and the singular values on either side of the cut."""

    dimension: int
    kept: float
    dropped: float


class Complement:
    r"""The vectors, within a given space, that every row added so far annihilates.

    Rows come in blocks. What a block plainly sees is rotated out of the basis by Householder reflections: some
    3 n^3 operations in all, in matrix products, where a singular value decomposition of everything takes ten times
    as long, and the Gram matrix :math:`J^T J` would square the singular values and hide those below 1e-8. What a
    block hardly sees stays in the basis; how much all rows saw of it is kept in a triangular factor, and decided
    when it is asked for.

    Args:
        basis: Orthonormal columns, shape (n, dimension).
    """

    def __init__(self, basis: Tensor):
        self._basis = basis
        self._rest = basis.new_zeros(0, basis.shape[1])
        self._longest, self._kept = 0.0, 1.0

    def add(self, rows: Tensor) -> None:
        """Take in rows of shape (count, n)."""
        for block in rows.split(BLOCK):
            self._longest = max([self._longest, *block.norm(dim=1).tolist()])
            if self._basis.shape[1]:
                self._reduce(block @ self._basis)

    def null(self) -> Null:
        """How much all rows annihilate, where what lies below the widest gap counts as zero; see `cut`."""
        relative = torch.linalg.svdvals(self._rest) / (self._longest or 1.0)
        rank = cut(relative)
        kept = min([self._kept, *relative[:rank].tolist()])
        return Null(self._basis.shape[1] - rank, kept, max([ROUNDING, *relative[rank:].tolist()]))

    def directions(self) -> Tensor:
        """An orthonormal basis of it, as columns."""
        _, s, vh = torch.linalg.svd(self._rest, full_matrices=False)
        rank = cut(s / (self._longest or 1.0))
        return _turned(vh[:rank].T, self._basis) if rank else self._basis

    def _reduce(self, seen: Tensor) -> None:
        # Any orthonormal mixtures of the rows would do; those of the Gram matrix sort them by size.
        mixed = torch.linalg.eigh(seen @ seen.T).eigenvectors.T @ seen
        size = mixed.norm(dim=1)
        plain = size > PLAIN * self._longest
        state = torch.cat([self._basis, self._rest, mixed[~plain]])
        if bool(plain.any()):
            self._kept = min(self._kept, float(size[plain].min()) / self._longest)
            state = _turned((mixed[plain] / size[plain, None]).T, state)
        n = len(self._basis)
        self._basis, self._rest = state[:n].contiguous(), state[n:]
        if len(self._rest) > self._rest.shape[1]:
            self._rest = torch.linalg.qr(self._rest, mode="r").R


def _turned(directions: Tensor, rows: Tensor) -> Tensor:
    """Rows in an orthonormal basis of what is orthogonal to these independent directions (columns)."""
    reflections, tau = torch.geqrf(directions)
    return torch.ormqr(reflections, tau, rows, left=False)[:, directions.shape[1] :]


def cut(relative: Tensor) -> int:
    """How many of these descending singular values are not zero; see `cuts`."""
    return int(cuts(relative))


def cuts(relative: Tensor) -> Tensor:
    """How many are not zero in each of many spectra: descending along the last axis, which the result lacks.

    All above `SMALL`; of the others those above the widest gap, the largest ratio of neighbours, where rounding is
    the last of them.
    """
    ends = relative.new_ones(*relative.shape[:-1], 1)
    framed = torch.cat([ends, relative, ROUNDING * ends], -1).clamp_min(ROUNDING)
    ratios = framed[..., :-1] / framed[..., 1:]
    counted = (relative > SMALL).sum(-1, keepdim=True)
    places = torch.arange(ratios.shape[-1], device=relative.device)
    return ratios.masked_fill(places < counted, 0.0).argmax(-1)
