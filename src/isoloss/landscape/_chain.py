"""Chains of linear layers: what of their stabilizer is told by the ranks of products of neighbouring weights."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from isoloss.finding._tangents import Columns
from isoloss.groups import GeneralLinear, Translation
from isoloss.landscape._peel import Cut, vectors_of
from isoloss.symmetry import Shift, Slot, Symmetry
from isoloss.symmetry._symmetry import Tensors


class Chain(NamedTuple):
    r"""Groups of matrices :math:`a_1, \dots, a_k`, each tied to the next by one weight and by nothing else.

    Attributes:
        maps: :math:`W_0, \dots, W_k`: what enters the first space from where nothing moves, the weights between
            neighbours, and what leaves the last.
    """

    maps: list[Tensor]

    def stabilizer(self, seen: Cut) -> int:
        r"""The dimension of :math:`\{ a : a_{i+1} W_i = W_i a_i,\; a_0 = a_{k+1} = 0 \}`.

        The maps are a representation of a linear quiver, hence a sum of intervals [i, j]: vectors that are born in
        space i and live to space j. There are as many as the ranks of the products :math:`W_{j-1} \cdots W_i` say,

        .. math:: m_{ij} = r_{ij} - r_{i-1,j} - r_{i,j+1} + r_{i-1,j+1}.

        From [i, j] to [k, l] there is one map up to a factor if :math:`k \le i \le l \le j`, and else none; it lives on
        their overlap [i, l], which must not touch the ends, where nothing moves.

        A product is never formed: the image of one space in the next is decomposed layer by layer, so that the singular
        values that decide are those of one weight on orthonormal vectors, relative to its norm.

        References:
            Gabriel (1972), for the intervals. The count is ours.
        """
        spaces = [self.maps[0].shape[1], *(w.shape[0] for w in self.maps)]
        last = len(spaces) - 1
        ranks = torch.zeros(last + 3, last + 3, dtype=torch.int64)  # shifted by one: zeros around
        norms = [float(torch.linalg.matrix_norm(w, 2)) if w.numel() else 0.0 for w in self.maps]
        for i, size in enumerate(spaces):
            image = torch.eye(size, dtype=torch.float64)
            ranks[i + 1, i + 1] = size
            for j in range(i, last):
                image = seen.image(self.maps[j] @ image, norms[j])
                ranks[i + 1, j + 2] = image.shape[1]
        count = ranks[1:-1, 1:-1] - ranks[:-2, 1:-1] - ranks[1:-1, 2:] + ranks[:-2, 2:]
        alive = [(i, j, int(count[i, j])) for i in range(last + 1) for j in range(i, last + 1) if count[i, j]]
        return sum(m * n for i, j, m in alive for k, e, n in alive if k <= i <= e <= j and i > 0 and e < last)


def chains(
    symmetries: list[Symmetry], tensors: Tensors, columns: Columns
) -> list[tuple[list[Symmetry], Chain]]:
    """The chains among some symmetries, each with its members.

    Only where all are GL(h) of plain slots or translations by biases: a translation slides a bias into the next, so
    that somewhere on the orbit all these biases are zero and no matrix moves them. The dimension is the same there.
    """
    matrices = [s for s in symmetries if isinstance(s.group, GeneralLinear)]
    others = [s for s in symmetries if not isinstance(s.group, GeneralLinear)]
    plain = all(prod(s.batch) == 1 and _plain(s) for s in matrices)
    if not plain or not all(isinstance(s.group, Translation) and prod(s.batch) == 1 for s in others):
        return []
    slides = [[slot for slot in s.slots if _whole(slot)] for s in others]
    slid = {_places(slots[0], columns) for slots in slides if len(slots) == 1}
    ends = [_Ends(s, tensors, columns, slid) for s in matrices]
    movers = torch.zeros(columns.count, dtype=torch.int64)
    for slot in (slot for s in matrices for slot in s.slots):
        places = _vectors(slot, columns).reshape(-1)
        movers.index_add_(0, places, torch.ones_like(places))
    found = []
    for start in ends:
        if start.grow.moved_by(1, movers):
            line = [start]
            while after := [e for e in ends if line[-1].shrink.meets(e.grow) and e not in line]:
                line.append(after[0])
            links = all(e.grow.moved_by(2, movers) for e in line[1:])
            if links and line[-1].shrink.moved_by(1, movers):
                maps = [start.grow.matrix(), *(e.shrink.matrix().T for e in line)]
                found.append(([e.symmetry for e in line], Chain(maps)))
    return found


class _Side:
    """The blocks of one charge, as one matrix with a column per vector, and where they lie."""

    def __init__(self, slots: list[Slot], tensors: Tensors, columns: Columns):
        self._vectors = [vectors_of(s, 0, tensors[s.parameter])[0] for s in slots]
        self._places = [_vectors(s, columns) for s in slots]

    def matrix(self) -> Tensor:
        """Shape (n, vectors)."""
        return torch.cat(self._vectors).T

    def moved_by(self, count: int, movers: Tensor) -> bool:
        """Do so many groups of matrices move each of their entries?"""
        return bool(self._places) and all(bool((movers[p] == count).all()) for p in self._places)

    def meets(self, other: _Side) -> bool:
        """Are both one and the same weight, seen from either side?"""
        if len(self._places) != 1 or len(other._places) != 1:
            return False
        return torch.equal(self._places[0], other._places[0].T)


class _Ends:
    """What of a group's blocks enters its space, and what leaves it; biases that a translation slides left out."""

    def __init__(self, symmetry: Symmetry, tensors: Tensors, columns: Columns, slid: set):
        self.symmetry = symmetry
        here = [s for s in symmetry.slots if isinstance(s, Slot)]
        here = [s for s in here if _places(s, columns) not in slid]
        self.grow = _Side([s for s in here if s.charge > 0], tensors, columns)
        self.shrink = _Side([s for s in here if s.charge < 0], tensors, columns)


def _vectors(slot: Slot | Shift, columns: Columns) -> Tensor:
    """The columns of a block that a group acts on along one dimension, one row per vector."""
    assert isinstance(slot, Slot)
    places = columns.of(slot)
    assert places is not None  # the coordinates are all that moves
    return places.movedim(slot.dims[-1], -1).reshape(-1, places.shape[slot.dims[-1]])


def _plain(symmetry: Symmetry) -> bool:
    return all(
        isinstance(s, Slot) and s.linear and abs(s.charge) == 1 and len(s.dims) == 1 for s in symmetry.slots
    )


def _whole(slot: Slot | Shift) -> bool:
    """Does it shift a vector by the translation itself?"""
    return isinstance(slot, Shift) and slot.equation == "a->a" and not slot.operands


def _places(slot: Slot | Shift, columns: Columns) -> tuple[int, ...]:
    places = columns.of(slot)
    return () if places is None else tuple(places.reshape(-1).tolist())
