"""Sums, extremes and norms along axes."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Cat, Pass, settled
from isoloss.finding._calculus._align import dropped
from isoloss.finding._calculus._levels import CURVED, bind, rotate
from isoloss.finding._calculus._pointwise import add
from isoloss.finding._forms import renamed
from isoloss.finding._shape import cut, joined, resolve, seams, touch
from isoloss.finding._space import Level


def reduce(p: Pass, t: Abstract, dims: list[int], keepdim: bool, kind: str = "sum") -> Abstract:
    """Sum or mean (`sum`), maximum or minimum (`max`), or Euclidean norm (`norm`) along axes."""
    t = settled(p, t)
    for d in dims:
        where = seams(t, d)
        if where is not None:
            parts = [reduce(p, part, dims, True, kind) for part in cut(p, t, d, where)]
            total = add(p, parts)
            return total if keepdim else dropped(p, total, dims)
    if isinstance(t, Cat):
        parts = [reduce(p, part, dims, True, kind) for part in t.parts]
        total = joined(t.axis, t.outer, parts)
        return total if keepdim else dropped(p, total, dims)
    touch(t)
    gone = [f for d in dims for f in t.axes[d]]
    products = {label: (f, g) for label, f, g in t.pending} if kind == "sum" else {}
    if kind != "sum":
        resolve(t)
    for f in gone:
        if f.label in products:
            bind(p, *products.pop(f.label), dual=True)
        elif kind == "norm":
            rotate(p, f, "its norm is taken")
        elif f.space is not None:
            f.space.lower(Level.PERMUTATION, "it is summed over")
    rest = [f for f, _ in products.values()]
    if kind != "sum":
        rest += [f for f in t.factors if f not in gone or kind == "max"]
    for f in rest:
        if f.space is not None:
            f.space.lower(Level.PERMUTATION, CURVED)
    scale, sign = t.scale, t.sign
    labels = [f.label for f in gone]
    if scale is not None and sign is not None:
        p.scale.demand(scale, labels)
        if kind in ("max", "norm") and sign:
            p.sign.demand(sign, None if kind == "max" else labels)
        else:
            p.sign.demand(sign, labels)
        dead: dict[int, int | None] = dict.fromkeys(labels)
        scale, sign = renamed(scale, dead), {} if kind in ("max", "norm") else renamed(sign, dead)
    axes = [() if d in dims else axis for d, axis in enumerate(t.axes)]
    result = p.dense(axes, scale, sign, affine=t.affine if kind == "sum" else (None, None))
    return result if keepdim else dropped(p, result, dims)
