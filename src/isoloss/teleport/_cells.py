"""Where the scalings of a network act: positions along the axes of its parameters, and the factors that meet there."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor

from isoloss.symmetry import Slot, Symmetry

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cells:
    """A parameter that scalings act on, seen along the axes along which they differ.

    Attributes:
        name: The parameter.
        full: Its shape.
        shape: The same, or (numel,) where the scalings do not act axis by axis.
        axes: The axes of that shape that scalings act along.
        first: Number of the first of these axes among all those of the network.
        crowd: How many factors an entry of the parameter is multiplied by, at most.
    """

    name: str
    full: Shape
    shape: Shape
    axes: tuple[int, ...]
    first: int
    crowd: int

    @property
    def lengths(self) -> list[int]:
        """Positions along each of the axes."""
        return [self.shape[axis] for axis in self.axes]

    def of(self, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Those of all axes' parts of a vector that belong to this parameter."""
        return parts[self.first : self.first + len(self.axes)]

    def spread(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The same parts, each with dimensions of size one so that it multiplies the parameter."""
        if self.shape != self.full:
            return [part.view(self.full) for part in self.of(parts)]
        after = [len(self.shape) - axis - 1 for axis in self.axes]
        return [p.view(-1, *(1,) * k) if k else p for k, p in zip(after, self.of(parts), strict=True)]


class Entries(NamedTuple):
    """One slot, flattened: the factor with number variables[i] acts, to a power, at positions[i] of an axis."""

    axis: int
    positions: Tensor
    variables: Tensor
    charge: float


def locate(symmetries: Sequence[Symmetry], shapes: dict[str, Shape]) -> tuple[list[Cells], Tensor, Tensor]:
    """Number the factors of all scalings one after another, and find where each acts.

    Returns:
        The cells of every parameter that moves; and two tables with a column per position and a row per layer of
        overlapping slots: the number of the factor (-1 for none) and its charge (float64).
    """
    acting: dict[str, list[tuple[Slot, Symmetry, int]]] = {}
    first = 0
    for symmetry in symmetries:
        for slot in (s for s in symmetry.slots if isinstance(s, Slot)):
            acting.setdefault(slot.parameter, []).append((slot, symmetry, first))
        first += prod(symmetry.batch) * symmetry.group.n
    cells: list[Cells] = []
    columns: list[tuple[Tensor, Tensor]] = []
    for name, slots in acting.items():
        shape, entries = _entries(slots, shapes[name])
        axes = tuple(sorted({e.axis for e in entries}))
        found = [_layers([e for e in entries if e.axis == axis], shape[axis]) for axis in axes]
        crowd = sum(len(variables) for variables, _ in found)
        cells.append(Cells(name, shapes[name], shape, axes, len(columns), crowd))
        columns += found
    depth = max((len(variables) for variables, _ in columns), default=0)
    return cells, _join([v for v, _ in columns], depth, -1), _join([c for _, c in columns], depth, 0.0)


def _entries(slots: list[tuple[Slot, Symmetry, int]], shape: Shape) -> tuple[Shape, list[Entries]]:
    entries: list[Entries] = []
    for _, together in groupby(slots, key=itemgetter(2)):
        mine = list(together)
        found = [_along_an_axis(slot, symmetry, first, shape) for slot, symmetry, first in mine]
        folded = [e for e in found if e is not None] if None not in found else _folded(mine, shape)
        if folded is None:
            return (prod(shape),), [
                _among_all(slot, symmetry, first, shape) for slot, symmetry, first in slots
            ]
        entries += folded
    return shape, entries


def _folded(slots: list[tuple[Slot, Symmetry, int]], shape: Shape) -> list[Entries] | None:
    """The slots of one symmetry along axes, if together they act on whole slices: queries, keys and values do."""
    tables = zip(*_layers([_among_all(*slot, shape) for slot in slots], prod(shape)), strict=True)
    entries = []
    for variables, charges in tables:
        for axis in range(len(shape)):
            v, c = (t.view(shape).movedim(axis, 0).flatten(1) for t in (variables, charges))
            if bool((v == v[:, :1]).all() and (c == c[:, :1]).all()):
                for charge in c[v[:, 0] >= 0, 0].unique().tolist():
                    positions = ((v[:, 0] >= 0) & (c[:, 0] == charge)).nonzero().squeeze(1)
                    entries.append(Entries(axis, positions, v[positions, 0], charge))
                break
        else:
            return None
    return entries


def _along_an_axis(slot: Slot, symmetry: Symmetry, first: int, shape: Shape) -> Entries | None:
    """The slot as positions of one axis, or None if it does not act on whole slices across one."""
    block, strides = slot.block, _strides(slot, symmetry)
    dims = [(axis, size, step) for axis, factors in enumerate(block.factors) for size, step in factors]
    partial = {
        a for a, n in enumerate(shape) if block.start[a] or prod(size for size, _ in block.factors[a]) != n
    }
    candidates = partial | {dims[d][0] for d in strides}
    if len(candidates) > 1 or not shape:
        return None
    axis = candidates.pop() if candidates else 0
    positions, variables = torch.tensor(block.start[axis]), torch.tensor(first)
    for d, (a, size, step) in enumerate(dims):
        if a == axis:
            positions = positions.unsqueeze(-1) + step * torch.arange(size)
            variables = variables.unsqueeze(-1) + strides.get(d, 0) * torch.arange(size)
    return Entries(axis, positions.reshape(-1), variables.reshape(-1), float(slot.charge))


def _among_all(slot: Slot, symmetry: Symmetry, first: int, shape: Shape) -> Entries:
    """The slot as positions among all entries of the parameter."""
    positions = slot.block.view(torch.arange(prod(shape)).view(shape))
    strides, variables = _strides(slot, symmetry), torch.tensor(first)
    for d, size in enumerate(positions.shape):
        variables = variables.unsqueeze(-1) + strides.get(d, 0) * torch.arange(size)
    return Entries(0, positions.reshape(-1), variables.reshape(-1), float(slot.charge))


def _strides(slot: Slot, symmetry: Symmetry) -> dict[int, int]:
    """Dimensions of the block's view along which the factor differs, and how many factors on a step there leads."""
    # A complex scaling owns two dimensions, the plane and the frequency; its modulus differs along the last.
    batch = len(symmetry.batch)
    dims = [*slot.dims[:batch], *slot.dims[batch:][-1:]]
    sizes = [*symmetry.batch, symmetry.group.n]
    return {d: prod(sizes[i + 1 :]) for i, d in enumerate(dims)}


def _layers(entries: list[Entries], n: int) -> tuple[Tensor, Tensor]:
    """Lay entries over an axis of n positions, in as few layers as it takes for none to cover another."""
    variables: list[Tensor] = []
    charges: list[Tensor] = []
    for e in entries:
        free = (k for k, layer in enumerate(variables) if bool((layer[e.positions] < 0).all()))
        k = next(free, len(variables))
        if k == len(variables):
            variables.append(torch.full((n,), -1))
            charges.append(torch.zeros(n, dtype=torch.float64))
        variables[k][e.positions] = e.variables
        charges[k][e.positions] = e.charge
    return torch.stack(variables), torch.stack(charges)


def _join(tables: list[Tensor], depth: int, blank: float) -> Tensor:
    padded = [torch.nn.functional.pad(t, (0, 0, 0, depth - len(t)), value=blank) for t in tables]
    return torch.cat(padded, dim=1) if padded else torch.zeros(0, 0)
