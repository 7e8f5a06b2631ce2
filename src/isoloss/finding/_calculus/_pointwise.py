"""Functions of several tensors, element by element; sums are the first of them."""

from __future__ import annotations

from collections.abc import Callable

from isoloss.finding._abstract import Abstract, Dense, Factor, Pass, settled, unify
from isoloss.finding._calculus._align import Column, aligned, distinct, joined_along, padded
from isoloss.finding._calculus._levels import bind
from isoloss.finding._forms import Form, plus, renamed
from isoloss.finding._shape import cut, meet, resolve, touch
from isoloss.finding._space import Level

Combine = Callable[..., tuple[Form | None, Form | None]]


def pointwise(p: Pass, args: list[Abstract], combine: Combine, lazy: bool = False) -> Abstract:
    """Apply an elementwise function of several tensors, with broadcasting.

    Args:
        p: The pass.
        args: The tensors.
        combine: Says what the function does to levels, scales and signs, once all axes are aligned.
        lazy: It also takes a list of pending products to fill.
    """
    rank = max(len(t.shape) for t in args)
    args = [settled(p, t) for t in args]
    args = [padded(p, t, rank) for t in args]
    for axis in range(rank):
        where = meet(p, [(t, axis) for t in args if t.shape[axis] > 1])
        if where is not None:
            columns = [cut(p, t, axis, where) if t.shape[axis] > 1 else [t] * len(where[1]) for t in args]
            parts = [pointwise(p, list(row), combine, lazy) for row in zip(*columns, strict=True)]
            return joined_along(p, axis, where, parts)
    dense = distinct(p, [t for t in args if isinstance(t, Dense)])
    known = p.hints.count
    table = [aligned(p, [t.axes[a] for t in dense]) for a in range(rank)]
    if p.hints.count != known:
        # An axis was cut on the way; the tensors may have seams now, so begin again.
        return pointwise(p, list(dense), combine, lazy)
    names: dict[int, int | None] = {}
    axes = []
    for columns in table:
        axis = []
        for column in columns:
            first = next((f for f in column if f is not None and f.space is not None), None)
            first = first or next(f for f in column if f is not None)
            for f in column:
                if f is not None and f.space is not None and first.space is not None:
                    unify(p, first.space, f.space)
                    names[f.label] = first.label
            axis.append(Factor(first.label, first.size, first.space, first.node))
        axes.append(axis)
    for t in dense:
        touch(resolve(t))
    renamed_args = [
        Dense(
            t.axes,
            None if t.scale is None else renamed(t.scale, names),
            None if t.sign is None else renamed(t.sign, names),
            t.leaf,
            affine=t.affine,
        )
        for t in dense
    ]
    pending: list[tuple[int, Factor, Factor]] = []
    scale, sign = combine(p, renamed_args, table, pending) if lazy else combine(p, renamed_args, table)
    for columns, axis in zip(table, axes, strict=True):
        for column, f in zip(columns, axis, strict=True):
            f.node = next((c.node for c in column if c is not None and c.label == f.label), f.node)
    return p.dense(axes, scale, sign, pending=tuple(pending), affine=_affine(dense, combine, lazy))


def _affine(args: list[Dense], combine: Combine, product: bool) -> tuple[int | None, int | None]:
    """The gain and shift of a product or a sum of a tensor and a bare parameter."""
    leaves = [t.leaf.index for t in args if t.leaf is not None]
    if combine is sum_of and not leaves and len({t.affine for t in args}) == 1:
        return args[0].affine
    if len(args) != 2 or len(leaves) != 1:
        return None, None
    if product:
        return leaves[0], None
    others = [t.affine[0] for t in args if t.leaf is None]
    return (others[0], leaves[0]) if combine is sum_of else (None, None)


def add(p: Pass, args: list[Abstract]) -> Abstract:
    """A sum: everything in it moves alike."""
    return pointwise(p, args, sum_of)


def sum_of(p: Pass, args: list[Dense], table: list[list[Column]]) -> tuple[Form | None, Form | None]:
    """What a sum asks of its terms, for `pointwise`."""
    live = [i for i, t in enumerate(args) if t.scale is not None]
    p.shifts.update(t.leaf.index for t in args if t.leaf is not None)
    for column in (c for columns in table for c in columns):
        holders = [f for i, f in enumerate(column) if i in live and f is not None and f.space is not None]
        if not holders:
            continue
        if len(holders) < len(live):
            holders[0].space.lower(Level.PERMUTATION, "a constant is added along it")  # type: ignore[union-attr]
        for other in holders[1:]:
            bind(p, holders[0], other, dual=False)
    if not live:
        return None, None
    first = args[live[0]]
    for i in live[1:]:
        p.scale.demand(plus(first.scale or {}, args[i].scale or {}, -1))
        p.sign.demand(plus(first.sign or {}, args[i].sign or {}, -1))
    return first.scale, first.sign
