"""The velocities of symmetries as the rows of a matrix: they span the tangent space of the orbit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor
from torch.func import vmap

from isoloss.symmetry import Shift, Slot, Symmetry
from isoloss.symmetry._symmetry import Tensors

# Velocities computed at once: numbers in the rows, 16 MB.
AT_ONCE = 1 << 21


class Columns:
    """Where the entries of some named tensors lie, one tensor after the other.

    Args:
        coordinates: Tensors by name.
    """

    def __init__(self, coordinates: Tensors):
        self.names = tuple(coordinates)
        self.count = 0
        self._places: dict[str, Tensor] = {}
        for name, t in coordinates.items():
            self._places[name] = torch.arange(self.count, self.count + t.numel()).reshape(t.shape)
            self.count += t.numel()

    def among(self, some: Columns) -> Tensor:
        """Where the columns of some of the tensors lie among these."""
        return torch.cat([self._places[name].reshape(-1) for name in some.names])

    def of(self, slot: Slot | Shift) -> Tensor | None:
        """The columns of a slot's block, shaped like its view; None if its tensor is none of these."""
        places = self.places(slot.parameter)
        return None if places is None else slot.block.view(places)

    def places(self, name: str) -> Tensor | None:
        """The columns of a tensor, in its shape; None if it is none of these."""
        return self._places.get(name)


def basis(symmetry: Symmetry, columns: int) -> Iterator[Tensor]:
    """A basis of the algebra, at each index of the batch in turn: shape (some, *batch, *algebra_shape).

    Args:
        symmetry: Of a continuous group.
        columns: Length of the rows that will be made of them, which decides how many come at once.
    """
    directions = symmetry.group.basis(dtype=torch.float64, device=torch.device("cpu"))
    batch, shape = prod(symmetry.batch), symmetry.group.algebra_shape
    some = max(1, AT_ONCE // max(columns, batch * prod(shape)))
    for index in range(batch):
        for chosen in directions.split(some):
            a = torch.zeros(len(chosen), batch, *shape, dtype=torch.float64)
            a[:, index] = chosen
            yield a.reshape(len(chosen), *symmetry.batch, *shape)


def velocities(
    symmetry: Symmetry,
    directions: Tensor,
    tensors: Tensors,
    columns: Columns,
    slots: Sequence[Slot | Shift] | None = None,
) -> Tensor:
    """The velocities of the orbit along algebra elements, as rows of shape (directions, columns).

    The same as `Symmetry.generator` for each, without a loop.

    Args:
        symmetry: Whose orbit it is.
        directions: Shape (some, *batch, *algebra_shape).
        tensors: The point, float64 on the CPU.
        columns: Where the coordinates lie; slots of other tensors are passed over.
        slots: Only what these move; all slots if it is None.
    """
    rows = torch.zeros(len(directions), columns.count, dtype=torch.float64)
    if symmetry.whole:
        found = vmap(lambda a: symmetry.generator(a, tensors))(directions)
        for name, v in found.items():
            places = columns.places(name)
            if places is not None:
                rows[:, places.reshape(-1)] = v.reshape(len(directions), -1).to(rows)
        return rows
    for slot in symmetry.slots if slots is None else slots:
        places = columns.of(slot)
        if places is None:
            continue
        x = slot.block.view(tensors[slot.parameter])
        v = vmap(lambda a, slot=slot, x=x: slot.velocity(symmetry.group, a, x, tensors))(directions)
        rows.index_add_(1, places.reshape(-1), v.reshape(len(directions), -1))
    return rows


def unit(rows: Tensor, floor: float | Tensor = 0.0) -> Tensor:
    """Rows of length one; those no longer than the floor become zero, for they are rounding."""
    length = rows.norm(dim=-1, keepdim=True)
    return torch.where(length > floor, rows / length.clamp_min(torch.finfo(rows.dtype).tiny), 0.0)


def tangents(symmetry: Symmetry, tensors: Tensors, coordinates: Tensors) -> Tensor:
    """Unit velocities of the orbit along a basis of the algebra, as rows over the coordinates."""
    columns = Columns(coordinates)
    rows = [velocities(symmetry, a, tensors, columns) for a in basis(symmetry, columns.count)]
    return unit(torch.cat(rows), noise(symmetry, tensors))


def noise(symmetry: Symmetry, tensors: Tensors) -> float:
    """The length that rounding may give a velocity that is zero: some eps of what moves."""
    if symmetry.whole:
        blocks = [tensors[name] for name in symmetry.parameters]
    else:
        blocks = [slot.block.view(tensors[slot.parameter]) for slot in symmetry.slots]
    moved = sum(float(block.norm()) for block in blocks)
    return 4 * torch.finfo(torch.float64).eps * moved
