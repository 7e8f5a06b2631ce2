"""Products and squares, which a sum may follow."""

from __future__ import annotations

from fractions import Fraction

from isoloss.finding._abstract import Abstract, Cat, Dense, Factor, Pass, settled
from isoloss.finding._calculus._align import Column
from isoloss.finding._calculus._levels import CURVED
from isoloss.finding._calculus._pointwise import pointwise
from isoloss.finding._forms import plus, times
from isoloss.finding._shape import resolve, touch
from isoloss.finding._space import Level, Node


def multiply(p: Pass, a: Abstract, b: Abstract, power: Fraction | int = 1) -> Abstract:
    """a * b ** power, elementwise; if it is summed next, an inner product."""

    def combine(p: Pass, args: list[Dense], table: list[list[Column]], pending: list):
        x, y = args
        p.gains.update(t.leaf.index for t in args if t.leaf is not None)
        for column in (c for columns in table for c in columns):
            f, g = column
            if g is not None and g.space is not None and power != 1 and (y.leaf is None or f is None):
                g.space.lower(Level.PERMUTATION, CURVED)
            if f is None or g is None or f.space is None or g.space is None:
                continue
            _scaled_by(p, x, f, y, g, column, power, pending)
        if x.scale is None or y.scale is None:
            return None, None
        parity = Fraction(power).numerator % 2 if Fraction(power).denominator == 1 else 1
        return plus(x.scale, times(y.scale, power)), plus(x.sign or {}, times(y.sign or {}, parity))

    return pointwise(p, [a, b], combine, lazy=True)


def _scaled_by(
    p: Pass, x: Dense, f: Factor, y: Dense, g: Factor, column: Column, power, pending: list
) -> None:
    """Along one space both vary: a diagonal matrix if one is a bare parameter, else a product to be summed or not."""
    assert f.space is not None
    if f.space.root().level <= Level.PERMUTATION:
        return
    for this, other, k in ((y, f, power), (x, g, 1)):
        if (
            this.leaf is not None
            and k in (1, -1)
            and (this is y or power == 1)
            and (x.leaf is None or y.leaf is None)
        ):
            column[0] = Factor(f.label, f.size, f.space, Node(other.node, 1, {this.leaf.index: int(k)}))
            p.diagonals.add(this.leaf.index)
            return
    if power == 1:
        pending.append((f.label, f, g))
    else:
        f.space.lower(Level.PERMUTATION, CURVED)


def squared(p: Pass, t: Abstract) -> Abstract:
    """x * x, still to be summed: the sum of squares along an axis lets rotations pass."""
    t = settled(p, resolve(t))
    if isinstance(t, Cat):
        return Cat(t.axis, t.outer, [squared(p, part) for part in t.parts])
    touch(t)
    pending = tuple((f.label, f, f) for f in t.factors if f.space is not None)
    return p.dense(t.axes, None if t.scale is None else times(t.scale, 2), {}, pending=pending)
