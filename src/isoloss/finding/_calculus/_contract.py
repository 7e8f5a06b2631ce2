"""Products summed over an axis: matrix products and their kin."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Dense, Factor, Misfit, Pass, settled, unify
from isoloss.finding._calculus._align import aligned, distinct, joined_along
from isoloss.finding._calculus._levels import bind
from isoloss.finding._calculus._pointwise import add
from isoloss.finding._forms import plus, renamed
from isoloss.finding._shape import cut, meet, seams, touch
from isoloss.finding._space import Level


def contract(
    p: Pass, a: Abstract, b: Abstract, batch: list[tuple[int, int]], pairs: list[tuple[int, int]]
) -> Abstract:
    """Multiply along batch axes and sum along pairs; the result has batch, then a's, then b's other axes."""
    a, b = settled(p, a), settled(p, b)
    free_a = [i for i in range(len(a.shape)) if i not in [x for x, _ in (*batch, *pairs)]]
    free_b = [j for j in range(len(b.shape)) if j not in [y for _, y in (*batch, *pairs)]]
    for i, j in pairs:
        where = meet(p, [(a, i), (b, j)])
        if where is not None:
            both = zip(cut(p, a, i, where), cut(p, b, j, where), strict=True)
            return add(p, [contract(p, x, y, batch, pairs) for x, y in both])
    for n, (i, j) in enumerate(batch):
        where = meet(p, [(a, i), (b, j)])
        if where is not None:
            both = zip(cut(p, a, i, where), cut(p, b, j, where), strict=True)
            return joined_along(p, n, where, [contract(p, x, y, batch, pairs) for x, y in both])
    for n, i in enumerate(free_a):
        if (where := seams(a, i)) is not None:
            parts = [contract(p, x, b, batch, pairs) for x in cut(p, a, i, where)]
            return joined_along(p, len(batch) + n, where, parts)
    for n, j in enumerate(free_b):
        if (where := seams(b, j)) is not None:
            parts = [contract(p, a, y, batch, pairs) for y in cut(p, b, j, where)]
            return joined_along(p, len(batch) + len(free_a) + n, where, parts)
    assert isinstance(a, Dense) and isinstance(b, Dense)
    a, b = distinct(p, [a, b])
    known = p.hints.count
    met = {(i, j): aligned(p, [a.axes[i], b.axes[j]]) for i, j in (*batch, *pairs)}
    if p.hints.count != known:
        return contract(p, a, b, batch, pairs)
    touch(a)
    touch(b)
    for x, w in ((a, b), (b, a)):
        if x.affine[0] is not None and w.leaf is not None:
            p.readings.add((*x.affine, w.leaf.index))  # type: ignore[arg-type]
    names: dict[int, int | None] = {}
    summed: list[int] = []
    live = a.scale is not None and b.scale is not None
    for (i, j), columns in met.items():
        for f, g in columns:
            if f is None or g is None:
                raise Misfit("a contraction of axes of different sizes")
            names[g.label] = f.label
            if f.space is not None and g.space is not None:
                unify(p, f.space, g.space)
            space = f.space or g.space
            if (i, j) in pairs:
                summed.append(f.label)
                if f.space is not None and g.space is not None:
                    if live:
                        bind(p, f, g, dual=True)
                elif space is not None and live:
                    space.lower(Level.PERMUTATION, "it is summed over")
            elif space is not None:
                space.lower(Level.PERMUTATION, "it is a batch of matrix products")
    scale = sign = None
    if live:
        scale = plus(a.scale or {}, renamed(b.scale or {}, names))
        sign = plus(a.sign or {}, renamed(b.sign or {}, names))
        p.scale.demand(scale, summed)
        p.sign.demand(sign, summed)
        gone: dict[int, int | None] = dict.fromkeys(summed)
        scale, sign = renamed(scale, gone), renamed(sign, gone)
    axes = [
        [
            Factor(f.label, f.size, f.space or g.space, f.node)
            for f, g in met[pair]
            if f is not None and g is not None
        ]
        for pair in batch
    ]
    return p.dense([*axes, *(a.axes[i] for i in free_a), *(b.axes[j] for j in free_b)], scale, sign)
