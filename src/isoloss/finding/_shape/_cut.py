"""The parts of a tensor between seams."""

from __future__ import annotations

from math import gcd, prod

from isoloss.finding._abstract import Abstract, Cat, Factor, Misfit, Pass, settled, split
from isoloss.finding._shape._parts import joined, resolve
from isoloss.finding._shape._seams import Seams, outer_size


def cut(p: Pass, t: Abstract, axis: int, where: Seams) -> list[Abstract]:
    """The parts of a tensor between seams."""
    t = settled(p, t)
    outer, sizes = where
    if isinstance(t, Cat):
        if t.axis != axis:
            columns = [cut(p, part, axis, where) for part in t.parts]
            return [Cat(t.axis, t.outer, [c[i] for c in columns]) for i in range(len(sizes))]
        if outer_size(t) != prod(outer):
            raise Misfit("concatenations interleave in different ways")
        return regrouped(p, t, axis, where)
    resolve(t)
    factors = list(t.axes[axis])
    front: list[Factor] = []
    lead = prod(outer)
    while lead > 1:
        f = factors.pop(0)
        if f.size > lead or lead % f.size:
            m = gcd(f.size, lead)
            if m == 1:
                raise Misfit("an axis does not nest")
            f, *more = split(p, f, (m, f.size // m))
            factors[:0] = more
        front.append(f)
        lead //= f.size
    first, rest = factors[0], factors[1:]
    tail = prod(f.size for f in rest)
    if any(n % tail for n in sizes):
        raise Misfit(f"pieces of {sizes} cut through a product")
    widths = tuple(n // tail for n in sizes)
    if first.space is None:
        pieces = [[p.factor(n)] for n in widths]
    else:
        pieces = [
            [p.factor(n, s)] for n, s in zip(widths, first.space.pieces("cat", widths, p.hints), strict=True)
        ]
    return [
        settled(
            p,
            p.dense(
                [*t.axes[:axis], [*front, *piece, *rest], *t.axes[axis + 1 :]],
                t.scale,
                t.sign,
                affine=t.affine,
            ),
        )
        for piece in pieces
    ]


def regrouped(p: Pass, t: Cat, axis: int, where: Seams) -> list[Abstract]:
    outer, sizes = where
    todo = list(t.parts)
    lead = prod(outer)
    groups: list[Abstract] = []
    for n in sizes:
        group: list[Abstract] = []
        while n:
            part = todo.pop(0)
            m = part.shape[axis] // lead
            if m > n:
                part, more = cut(p, part, axis, (outer, (n, m - n)))
                todo.insert(0, more)
                m = n
            group.append(part)
            n -= m
        groups.append(joined(axis, t.outer, group))
    return groups
