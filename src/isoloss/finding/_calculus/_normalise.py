"""Division by the root mean square along axes."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Cat, Pass, settled
from isoloss.finding._calculus._levels import rotate
from isoloss.finding._forms import Form, plus, renamed
from isoloss.finding._shape import parts_of, touch
from isoloss.finding._space import Level


def normalise(p: Pass, t: Abstract, dims: list[int], *, eps: float, centre: bool) -> Abstract:
    """Divide by the root mean square along axes, after subtracting the mean if centre; without weights."""
    t = settled(p, t)
    parts = parts_of(t)
    if isinstance(t, Cat) and t.axis not in dims:
        return Cat(t.axis, t.outer, [normalise(p, part, dims, eps=eps, centre=centre) for part in t.parts])
    ends = []
    for part in parts:
        touch(part)
        along = [f for d in dims for f in part.axes[d]]
        alone = len(along) == 1 and len(parts) == 1
        for f in along:
            if alone:
                rotate(p, f, "a norm runs along it")
            if f.space is not None:
                f.space.root().ones |= centre
                if not alone:
                    f.space.lower(Level.PERMUTATION, "a norm runs along it and others")
        rest = [f for f in part.factors if f not in along]
        p.pooled(rest)
        for f in rest:
            if f.space is not None:
                f.space.lower(Level.PERMUTATION, "each of its indices is normalized on its own")
        labels = [f.label for f in along]
        dead: dict[int, int | None] = dict.fromkeys(labels)
        if part.scale is not None:
            p.scale.demand(part.scale, labels)
            p.sign.demand(part.sign or {}, labels)
            ends.append((renamed(part.scale, dead), renamed(part.sign or {}, dead)))
    for scale, sign in ends[1:]:
        p.scale.demand(plus(ends[0][0], scale, -1))
        p.sign.demand(plus(ends[0][1], sign, -1))
    if eps and ends:
        p.scale.demand(ends[0][0], nearly=True)
    return _unscaled(p, t, ends[0][1] if ends else {})


def _unscaled(p: Pass, t: Abstract, sign: Form) -> Abstract:
    if isinstance(t, Cat):
        return Cat(t.axis, t.outer, [_unscaled(p, part, sign) for part in t.parts])
    return p.dense(t.axes, {}, sign)
