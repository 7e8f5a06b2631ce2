"""Sums over the squares of a tensor, weighted by one factor per index of each axis."""

import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Entries of a block: half a megabyte stays in a core's cache, a GPU wants large launches.
BLOCK = 1 << 17
BLOCK_ON_GPU = 1 << 24
_scratch = threading.local()


class Matrix:
    r"""Sums :math:`\sum_j x_{ij}^2 v_j` and :math:`\sum_i x_{ij}^2 u_i` of a matrix.

    The squares are made a block of rows at a time, in scratch memory that stays allocated: a temporary as large as
    the matrix would cost more than the products, and a second copy of every weight.
    """

    def __init__(self, x: Tensor, weight: float, dtype: torch.dtype):
        self._x, self._weight, self._dtype = x, weight, dtype

    def sums(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """The weighted sum over the columns of every row, and over the rows of every column."""
        u, v = (f.to(self._x.device) for f in factors)
        rows, columns = torch.empty_like(u), torch.zeros_like(v)
        for part, squares in self._blocks():
            torch.mv(squares, v, out=rows[part])
            columns.addmv_(squares.mT, u[part])
        return [rows * self._weight, columns * self._weight] if self._weight != 1.0 else [rows, columns]

    def total(self, factors: Sequence[Tensor]) -> Tensor:
        """The weighted sum of all squares."""
        u, v = (f.to(self._x.device) for f in factors)
        rows = torch.empty_like(u)
        for part, squares in self._blocks():
            torch.mv(squares, v, out=rows[part])
        return torch.dot(rows, u) * self._weight

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        height, width = self._x.shape
        step = max(1, (BLOCK if self._x.is_cpu else BLOCK_ON_GPU) // width)
        scratch = _memory(self._x.device, self._dtype, min(step, height) * width)
        for start in range(0, height, step):
            x = self._x[start : start + step]
            squares = scratch[: x.numel()].view(x.shape)
            if x.dtype == self._dtype:
                torch.mul(x, x, out=squares)
            else:
                squares.copy_(x).square_()
            yield slice(start, start + step), squares


class Runs:
    """The same sums of a convolution's weight: a matrix whose columns come in runs, one per input channel."""

    def __init__(self, x: Tensor, weight: float, dtype: torch.dtype):
        self._matrix, self._run = Matrix(x.flatten(1), weight, dtype), x[0, 0].numel()

    def sums(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """For either of the first two axes the weighted sum over all others."""
        rows, columns = self._matrix.sums(self._spread(factors))
        return [rows, columns.view(-1, self._run).sum(1)]

    def total(self, factors: Sequence[Tensor]) -> Tensor:
        """The weighted sum of all squares."""
        return self._matrix.total(self._spread(factors))

    def _spread(self, factors: Sequence[Tensor]) -> list[Tensor]:
        return [factors[0], factors[1].repeat_interleave(self._run)]


class Lattice:
    """The same sums of a tensor with any number of axes, from its squares."""

    def __init__(self, squares: Tensor):
        self._squares = squares

    def sums(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """For every axis the weighted sum over all others."""
        return [self._contracted(factors, kept) for kept in range(self._squares.dim())]

    def total(self, factors: Sequence[Tensor]) -> Tensor:
        """The weighted sum of all squares."""
        kept = factors[0].to(self._squares)
        return torch.dot(self._contracted(factors, 0), kept)

    def _contracted(self, factors: Sequence[Tensor], kept: int) -> Tensor:
        result = self._squares
        for axis in reversed(range(result.dim())):
            if axis != kept:
                result = result.movedim(axis, -1) @ factors[axis].to(result)
        return result


def _memory(device: torch.device, dtype: torch.dtype, size: int) -> Tensor:
    known: dict[tuple[torch.device, torch.dtype], Tensor] = _scratch.__dict__.setdefault("known", {})
    if (device, dtype) not in known or known[device, dtype].numel() < size:
        known[device, dtype] = torch.empty(size, device=device, dtype=dtype)
    return known[device, dtype]
