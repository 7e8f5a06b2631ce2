"""Concatenations, and concatenations whose seams are given up."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Cat, Dense, Pass, settled
from isoloss.finding._shape._parts import joined, of_data
from isoloss.finding._shape._seams import FEW
from isoloss.finding._shape._select import blur


def cat(p: Pass, tensors: list[Abstract], axis: int) -> Abstract:
    """torch.cat; pieces of an axis of data that agree in everything else are merged."""
    tensors = [settled(p, t) for t in tensors]
    if len(tensors) == 1:
        return tensors[0]
    dense = [t for t in tensors if isinstance(t, Dense)]
    if len(dense) < len(tensors) or not (_interchangeable(dense, axis) or len(dense) > FEW):
        return joined(axis, 0, tensors)
    return weld(p, Cat(axis, 0, tensors))


def weld(p: Pass, t: Cat) -> Abstract:
    """The tensor without the seams of its concatenated axis, whose parts must then move alike."""
    from isoloss.finding._calculus import add

    return told_apart(
        p, add(p, [told_apart(p, part, t.axis, 1) for part in t.parts]), t.axis, t.shape[t.axis]
    )


def told_apart(p: Pass, t: Abstract, axis: int, size: int) -> Abstract:
    """One axis replaced by a new one, along which nothing moves."""
    if isinstance(t, Dense):
        return blur(p, t, axis, size)
    if t.axis == axis:
        return told_apart(p, weld(p, t), axis, size)
    return Cat(t.axis, t.outer, [told_apart(p, part, axis, size) for part in t.parts])


def _interchangeable(tensors: list[Dense], axis: int) -> bool:
    """Is the axis one of data, and are the tensors alike along all others?"""

    def roots(t: Dense) -> list:
        return [f.space and f.space.root() for a, fs in enumerate(t.axes) if a != axis for f in fs]

    along = [f.space for t in tensors for f in t.axes[axis]]
    return all(map(of_data, along)) and all(roots(t) == roots(tensors[0]) for t in tensors)
