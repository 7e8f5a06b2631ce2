"""Some of the indices of an axis."""

from __future__ import annotations

from math import prod

from isoloss.finding._abstract import Abstract, Cat, Dense, Pass, settled
from isoloss.finding._forms import renamed
from isoloss.finding._shape._axes import drop
from isoloss.finding._shape._cut import cut
from isoloss.finding._shape._parts import of_data, rebuilt, resolve, touch
from isoloss.finding._shape._seams import FEW
from isoloss.finding._space import Level, Space


def narrow(p: Pass, t: Abstract, axis: int, start: int, length: int) -> Abstract:
    """The indices from start on, along an axis."""
    size = t.shape[axis]
    if length == size:
        return t
    t = settled(p, t)
    if isinstance(t, Dense):
        if all(f.space is None for f in t.axes[axis]):
            return rebuilt(p, t, [*t.axes[:axis], (p.factor(length),), *t.axes[axis + 1 :]])
        if all(of_data(f.space) for f in t.axes[axis]):
            return blur(p, t, axis, length)
        tail = prod(f.size for f in t.axes[axis][1:])
        if start % tail or length % tail:
            return blur(p, t, axis, length)
    sizes = tuple(n for n in (start, length, size - start - length) if n)
    return cut(p, t, axis, ((), sizes))[1 if start else 0]


def blur(p: Pass, t: Dense, axis: int, size: int) -> Dense:
    """An axis whose indices have been mixed or chosen: nothing moves along it."""
    touch(resolve(t))
    for f in t.axes[axis]:
        if f.space is not None:
            f.space.lower(Level.RIGID, "its indices are told apart")
    labels = [f.label for f in t.axes[axis]]
    constant_along(p, t, labels)
    factor = p.factor(size, Space(size, level=Level.RIGID))
    names = dict.fromkeys(labels)
    return p.dense(
        [*t.axes[:axis], (factor,), *t.axes[axis + 1 :]],
        None if t.scale is None else renamed(t.scale, names),
        None if t.sign is None else renamed(t.sign, names),
        affine=t.affine,
    )


def constant_along(p: Pass, t: Dense, labels) -> None:
    """Demand that a tensor scale alike along some labels."""
    if t.scale:
        p.scale.demand(t.scale, labels)
    if t.sign:
        p.sign.demand(t.sign, labels)


def select(p: Pass, t: Abstract, axis: int, index: int) -> Abstract:
    """One index of an axis."""
    t = settled(p, t)
    size = t.shape[axis]
    if size == 1:
        return drop(p, t, axis)
    if isinstance(t, Cat) and t.axis == axis and not t.outer:
        for part in t.parts:
            n = part.shape[axis]
            if index < n:
                return select(p, part, axis, index)
            index -= n
    if isinstance(t, Cat) and t.axis != axis:
        return Cat(t.axis - (axis < t.axis), t.outer, [select(p, part, axis, index) for part in t.parts])
    if isinstance(t, Dense):
        if all(f.space is None for f in t.axes[axis]):
            return rebuilt(p, t, [*t.axes[:axis], *t.axes[axis + 1 :]])
        rigid = all(f.space is None or f.space.root().level == Level.RIGID for f in t.axes[axis])
        if rigid or size > FEW or len(t.axes[axis]) > 1:
            gone = blur(p, t, axis, 1)
            return rebuilt(p, gone, [*gone.axes[:axis], *gone.axes[axis + 1 :]])
    return drop(p, cut(p, t, axis, ((), (1,) * size))[index], axis)
