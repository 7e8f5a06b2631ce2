"""What of a matrix group cannot be told apart at a point by the blocks that it alone moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from isoloss.finding._complement import ROUNDING, cut
from isoloss.finding._tangents import AT_ONCE, Columns, basis
from isoloss.groups import GeneralLinear, Orthogonal
from isoloss.symmetry import Shift, Slot, Symmetry
from isoloss.symmetry._symmetry import Tensors


@dataclass
class Cut:
    """The smallest relative singular value that counted, and the largest that did not."""

    kept: float = 1.0
    dropped: float = ROUNDING

    def see(self, kept: float, dropped: float) -> None:
        """Take in one more decision."""
        self.kept, self.dropped = min(self.kept, kept), max(self.dropped, dropped)

    def null(self, rows: Tensor) -> Tensor:
        """An orthonormal basis of what the rows annihilate, as columns: shape (n, nullity)."""
        _, s, v = torch.linalg.svd(rows, full_matrices=True)
        relative = s / s[:1].clamp_min(torch.finfo(s.dtype).tiny)
        rank = cut(relative)
        self.see(min([1.0, *relative[:rank].tolist()]), max([0.0, *relative[rank:].tolist()]))
        return v[rank:].T

    def image(self, columns: Tensor, norm: float) -> Tensor:
        """An orthonormal basis of what some columns span, judged relative to a norm."""
        u, s, _ = torch.linalg.svd(columns, full_matrices=False)
        relative = (s / (norm or 1.0)).clamp_max(1.0)
        rank = cut(relative)
        self.see(min([1.0, *relative[:rank].tolist()]), max([0.0, *relative[rank:].tolist()]))
        return u[:, :rank]


@dataclass
class Remainder:
    r"""The part of one symmetry's algebra in which its stabilizer lies, as far as it is known.

    For matrices it is kept in factors, for each index of the batch:

    .. math:: a = L N R^T, \qquad X_- L = 0, \quad X_+ R = 0

    Here :math:`X_\pm` are the blocks that move with charge :math:`\pm 1`, one row per vector. A block that no other
    symmetry moves must not move at all under the stabilizer: :math:`X_+ a^T = 0` and :math:`X_- a = 0`. For rotations
    :math:`L = R`, N is antisymmetric, and all blocks count. So the algebra, of dimension :math:`n^2`, is cut down by
    decompositions of matrices with n columns. Other groups are kept whole.
    """

    symmetry: Symmetry
    slots: list[Slot | Shift] = field(init=False)
    factors: list[tuple[Tensor, Tensor]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.slots = list(self.symmetry.slots)
        if self.in_factors:
            whole = torch.eye(self.symmetry.group.n, dtype=torch.float64)
            if self.antisymmetric and self.symmetry.group.fixes_ones:  # type: ignore[attr-defined]
                whole = Cut().null(torch.ones(1, len(whole), dtype=torch.float64))
            self.factors = [(whole, whole)] * prod(self.symmetry.batch)

    @property
    def antisymmetric(self) -> bool:
        """Are its algebra elements antisymmetric?"""
        return isinstance(self.symmetry.group, Orthogonal)

    @property
    def in_factors(self) -> bool:
        """Is it a group of matrices, of which factors are kept?"""
        return isinstance(self.symmetry.group, GeneralLinear | Orthogonal)

    @property
    def dim(self) -> int:
        """Dimension of the part."""
        if not self.in_factors:
            return self.symmetry.dim
        sizes = [(left.shape[1], right.shape[1]) for left, right in self.factors]
        return sum(k * (k - 1) // 2 if self.antisymmetric else k * m for k, m in sizes)

    @property
    def entries(self) -> int:
        """How many entries of the velocities along `directions` are not zero, for matrices; 0 for other groups."""
        if not self.in_factors:
            return 0
        n, places = self.symmetry.group.n, sum(prod(slot.block.shape) for slot in self.slots)
        whole = all(left.shape[1] == right.shape[1] == n for left, right in self.factors)
        # A unit matrix moves one line of each block, a mixture moves all of it.
        return self.dim * places // (len(self.factors) * (n if whole else 1))

    def peel(self, private: list[Slot], tensors: Tensors, seen: Cut) -> None:
        """Keep what leaves these blocks as they are, which no one else moves; they need not be asked again."""
        rows = [
            (slot, vectors_of(slot, len(self.symmetry.batch), tensors[slot.parameter])) for slot in private
        ]
        for index, (left, right) in enumerate(self.factors):
            plus = [x[index] for slot, x in rows if slot.charge > 0 or self.antisymmetric]
            minus = [x[index] for slot, x in rows if slot.charge < 0 or self.antisymmetric]
            right = right @ seen.null(torch.cat(plus) @ right) if plus and right.shape[1] else right
            if self.antisymmetric:
                left = right
            elif minus and left.shape[1]:
                left = left @ seen.null(torch.cat(minus) @ left)
            self.factors[index] = left, right
        self.slots = [slot for slot in self.slots if slot not in private]

    def directions(self, columns: int) -> Iterator[Tensor]:
        """A basis of the part, orthonormal for matrices: shape (some, *batch, *algebra_shape)."""
        if not self.in_factors:
            yield from basis(self.symmetry, columns)
            return
        batch, n = len(self.factors), self.symmetry.group.n
        some = max(1, AT_ONCE // max(columns, batch * n * n))
        for index, (left, right) in enumerate(self.factors):
            i, j = _pairs(left.shape[1], right.shape[1], self.antisymmetric)
            for chosen in torch.arange(len(i)).split(some):
                a = torch.zeros(len(chosen), batch, n, n, dtype=torch.float64)
                # Outer products of columns: one unit of N each.
                a[:, index] = left.T[i[chosen], :, None] * right.T[j[chosen], None, :]
                yield (a - a.mT if self.antisymmetric else a).reshape(-1, *self.symmetry.batch, n, n)


def peeled(symmetries: list[Symmetry], tensors: Tensors, columns: Columns, seen: Cut) -> list[Remainder]:
    """The remainders of all symmetries, where no block that only one slot moves is left to be asked.

    A symmetry of which nothing remains moves nothing under the stabilizer, so that blocks it shared with another
    belong to that one alone: from the ends of a deep linear network the peeling goes on inward.
    """
    parts = [Remainder(symmetry) for symmetry in symmetries]
    while True:
        alive = [part for part in parts if part.dim]
        movers = torch.zeros(columns.count, dtype=torch.int64)
        for slot in (slot for part in alive for slot in part.slots):
            places = _places(slot, columns)
            movers.index_add_(0, places, torch.ones_like(places))
        found = [(part, _private(part, columns, movers)) for part in alive if part.in_factors]
        if not any(private for _, private in found):
            return alive
        for part, private in found:
            if private:
                part.peel(private, tensors, seen)


def _private(part: Remainder, columns: Columns, movers: Tensor) -> list[Slot]:
    plain = [slot for slot in part.slots if isinstance(slot, Slot) and slot.linear]
    return [slot for slot in plain if bool((movers[_places(slot, columns)] == 1).all())]


def _places(slot: Slot | Shift, columns: Columns) -> Tensor:
    places = columns.of(slot)
    assert places is not None  # the coordinates are all that moves
    return places.reshape(-1)


def vectors_of(slot: Slot, batch: int, tensor: Tensor) -> Tensor:
    """The block as vectors that the matrices multiply: shape (batch, vectors, n).

    Args:
        slot: The block, and the dimensions that the group acts on.
        batch: How many dimensions the batch of the elements has.
        tensor: The parameter.
    """
    x = slot.block.view(tensor)
    rest = [d for d in range(x.ndim) if d not in slot.dims]
    x = x.permute([*slot.dims[:batch], *rest, *slot.dims[batch:]])
    return x.reshape(prod(x.shape[:batch]), -1, x.shape[-1])


def _pairs(rows: int, columns: int, antisymmetric: bool) -> tuple[Tensor, Tensor]:
    if antisymmetric:
        i, j = torch.triu_indices(rows, columns, offset=1)
    else:
        i, j = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).unbind(1)
    return i, j
