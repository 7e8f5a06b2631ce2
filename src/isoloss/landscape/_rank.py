"""The rank of a matrix with few entries: of each of its connected parts, which are often tiny and alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from isoloss.finding._complement import Complement, cut
from isoloss.landscape._peel import Cut

# Above this width the reflections of `Complement` are faster than singular values.
WIDE = 1024
# With more than this share of entries, looking for parts costs more than it saves.
FULL = 0.2
# Entries of the dense matrix of one part.
MOST = 250_000_000


class Entries(NamedTuple):
    """The entries of a matrix that are not zero: their rows, columns and values."""

    rows: Tensor
    columns: Tensor
    values: Tensor


def rank(entries: Entries, shape: tuple[int, int], seen: Cut) -> int:
    """The numerical rank of a matrix whose rows have length one or zero.

    Two rows are connected if they share a column. The connected parts are decomposed one by one, those of the same
    shape together, so that a thousand neurons that scale on their own cost one batch of vectors.

    Args:
        entries: What is not zero.
        shape: Rows and columns.
        seen: Where the singular values on either side of the cut are reported.
    """
    total, pooled = 0, []
    for blocks in _parts(entries, shape):
        if min(blocks.shape[1:]) > WIDE:
            total += sum(_wide_rank(block, seen) for block in blocks)
        else:
            pooled.append(_singular_values(blocks).flatten())
    # One cut for all of the small parts: rows have length one in each.
    relative = torch.cat(pooled).clamp_max(1.0).sort(descending=True).values if pooled else torch.zeros(0)
    small = cut(relative)
    if len(relative):
        seen.see(min([1.0, *relative[small - 1 : small].tolist()]), max([0.0, *relative[small:].tolist()]))
    return total + small


def _wide_rank(block: Tensor, seen: Cut) -> int:
    tall = block if block.shape[0] >= block.shape[1] else block.T
    space = Complement(torch.eye(tall.shape[1], dtype=torch.float64))
    space.add(tall)
    null = space.null()
    seen.see(null.kept, null.dropped)
    return tall.shape[1] - null.dimension


def _singular_values(blocks: Tensor) -> Tensor:
    tall = blocks if blocks.shape[1] >= blocks.shape[2] else blocks.mT
    if tall.shape[1] > 2 * tall.shape[2]:
        tall = torch.linalg.qr(tall, mode="r").R
    return torch.linalg.svdvals(tall)


def _parts(entries: Entries, shape: tuple[int, int]) -> Iterator[Tensor]:
    """The connected parts as dense matrices, those of one shape stacked."""
    if len(entries.values) > FULL * shape[0] * shape[1]:
        yield _whole(entries, shape)[None]
        return
    labels = _labels(entries, shape)
    rows, columns = torch.unique(entries.rows), torch.unique(entries.columns)
    parts, row_part = torch.unique(labels[rows], return_inverse=True)
    column_part = torch.searchsorted(parts, labels[columns + shape[0]])
    heights, widths = (torch.bincount(p, minlength=len(parts)) for p in (row_part, column_part))
    row_place = _within(rows, row_part, heights, shape[0])
    column_place = _within(columns, column_part, widths, shape[1])
    part_of = torch.searchsorted(parts, labels[entries.rows])
    kinds, kind_of = torch.unique(torch.stack([heights, widths], 1), dim=0, return_inverse=True)
    for kind, (height, width) in enumerate(kinds.tolist()):
        _refuse(height, width)
        members = torch.where(kind_of == kind)[0]
        chosen = kind_of[part_of] == kind
        blocks = torch.zeros(len(members), height, width, dtype=torch.float64)
        which = torch.searchsorted(members, part_of[chosen])
        blocks[which, row_place[entries.rows[chosen]], column_place[entries.columns[chosen]]] = (
            entries.values[chosen]
        )
        yield blocks


def _refuse(height: int, width: int) -> None:
    if height * width > MOST:
        raise ValueError(
            f"landscape.orbit_dimension: generators that share parameters may have {MOST:,} entries, 2 GB; "
            f"got {height:,} generators of {width:,} parameters; take a narrower model of the same kind, or some of "
            "the symmetries."
        )


def _whole(entries: Entries, shape: tuple[int, int]) -> Tensor:
    """All of it, without empty columns."""
    _refuse(*shape)
    matrix = torch.zeros(shape, dtype=torch.float64)
    matrix[entries.rows, entries.columns] = entries.values
    return matrix[:, matrix.any(0)]


def _within(present: Tensor, part: Tensor, sizes: Tensor, length: int) -> Tensor:
    """For each row (or column) its number within its part."""
    order = part.argsort(stable=True)
    number = torch.arange(len(part)) - (sizes.cumsum(0) - sizes)[part[order]]
    places = torch.zeros(length, dtype=torch.int64)
    places[present[order]] = number
    return places


def _labels(entries: Entries, shape: tuple[int, int]) -> Tensor:
    """For rows, then columns, the smallest row of their connected part."""
    rows, columns = entries.rows, entries.columns + shape[0]
    labels = torch.arange(sum(shape))
    while True:
        low = torch.minimum(labels[rows], labels[columns])
        new = labels.scatter_reduce(0, rows, low, "amin").scatter_reduce(0, columns, low, "amin")
        new = new[new]  # a label's own label: paths shorten by half
        if torch.equal(new, labels):
            return labels
        labels = new
