"""Bringing the axes of several tensors together before an op reads them."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Dense, Factor, Pass, fresh_labels, nest
from isoloss.finding._shape import drop, joined, leading, unsqueeze

Column = list[Factor | None]


def joined_along(p: Pass, axis: int, where, parts: list[Abstract]) -> Abstract:
    outer = 1
    for n in where[0]:
        outer *= n
    return joined(axis, leading(p, parts[0], axis, outer), parts)


def padded(p: Pass, t: Abstract, rank: int) -> Abstract:
    while len(t.shape) < rank:
        t = unsqueeze(p, t, 0)
    return t


def dropped(p: Pass, t: Abstract, dims: list[int]) -> Abstract:
    for d in sorted(dims, reverse=True):
        t = drop(p, t, d)
    return t


def distinct(p: Pass, tensors: list[Dense]) -> list[Dense]:
    """Tensors without labels in common."""
    taken: set[int] = set()
    result = []
    for t in tensors:
        labels = {f.label for f in t.factors}
        if taken & labels:
            t = fresh_labels(p, t)
            labels = {f.label for f in t.factors}
        taken |= labels
        result.append(t)
    return result


def aligned(p: Pass, axes: list) -> list[Column]:
    present = [i for i, axis in enumerate(axes) if axis]
    if not present:
        return []
    nested = dict(zip(present, nest(p, [axes[i] for i in present]), strict=True))
    width = len(nested[present[0]])
    return [[nested[i][n] if i in nested else None for i in range(len(axes))] for n in range(width)]
