"""Where the parts of a concatenation meet along an axis."""

from __future__ import annotations

from math import prod

from isoloss.finding._abstract import Abstract, Cat, Dense, Misfit, Pass
from isoloss.finding._shape._parts import of_data, parts_of

# More single pieces than this are never worth telling apart: gates, fused QKV and such are few.
FEW = 64


def outer_size(t: Cat) -> int:
    part = t.parts[0]
    while isinstance(part, Cat):
        part = part.parts[0]
    return prod(f.size for f in part.axes[t.axis][: t.outer])


def leading(p: Pass, t: Abstract, axis: int, size: int) -> int:
    """How many leading factors of an axis make up a size."""
    while isinstance(t, Cat):
        t = t.parts[0]
    n = 0
    while size > 1:
        f = t.axes[axis][n]
        if size % f.size:
            raise Misfit("the outer part of a concatenation does not nest")
        size //= f.size
        n += 1
    return n


Seams = tuple[tuple[int, ...], tuple[int, ...]]


def seams(t: Abstract, axis: int) -> Seams | None:
    """Sizes of the outer factors and of the parts along an axis; None if there is no seam."""
    if isinstance(t, Dense):
        return None
    if t.axis != axis:
        return seams(t.parts[0], axis)
    part = t.parts[0]
    while isinstance(part, Cat):
        part = part.parts[0]
    outer = tuple(f.size for f in part.axes[axis][: t.outer])
    return outer, tuple(q.shape[axis] // prod(outer) for q in t.parts)


def common(a: Seams | None, b: Seams | None) -> Seams | None:
    """The seams of either."""
    if a is None or b is None:
        return a or b
    if prod(a[0]) != prod(b[0]):
        raise Misfit("concatenations interleave in different ways")
    cuts = sorted({sum(s[:i]) for _, s in (a, b) for i in range(1, len(s) + 1)})
    return a[0], tuple(y - x for x, y in zip([0, *cuts], cuts, strict=False))


def meet(p: Pass, places: list[tuple[Abstract, int]]) -> Seams | None:
    """The seams of several tensors along an axis of each."""
    where = None
    try:
        for t, axis in places:
            where = common(where, seams(t, axis))
    except Misfit:
        for t, axis in places:
            undo_interleaving(p, t, axis)
        raise
    return where


def undo_interleaving(p: Pass, t: Abstract, axis: int) -> None:
    """Cut the factors outside a concatenation index by index: so told apart they nest with all; for the next pass."""
    if isinstance(t, Dense):
        return
    if t.axis != axis:
        for part in t.parts:
            undo_interleaving(p, part, axis)
        return
    for part in parts_of(t):
        in_singles_next(p, part.axes[axis][: t.outer])


def in_singles_next(p: Pass, factors) -> None:
    for f in factors:
        if f.space is not None and f.size <= FEW and not of_data(f.space):
            f.space.pieces("cat", (1,) * f.size, p.hints)
