"""Reshapes: the same factors in other axes."""

from __future__ import annotations

from math import gcd, prod

from isoloss.finding._abstract import Abstract, Cat, Dense, Factor, Misfit, Pass, settled, split
from isoloss.finding._shape._cut import cut, regrouped
from isoloss.finding._shape._parts import joined, of_data, rebuilt
from isoloss.finding._shape._seams import FEW, in_singles_next, leading, outer_size, seams, undo_interleaving


def view(p: Pass, t: Abstract, shape: tuple[int, ...]) -> Abstract:
    """torch.reshape, for a shape without -1."""
    t = settled(p, t)
    if t.shape == tuple(shape):
        return t
    if isinstance(t, Cat):
        return _view_cat(p, t, tuple(shape))
    todo = t.factors
    axes = []
    for n in shape:
        axis: list[Factor] = []
        while n > 1:
            f = todo.pop(0)
            if f.size > n or n % f.size:
                m = gcd(f.size, n)
                if m == 1:
                    return view(p, _in_singles(p, t, f, n), shape)
                f, *more = split(p, f, (m, f.size // m))
                todo[:0] = more
            axis.append(f)
            n //= f.size
        axes.append(axis)
    return settled(p, rebuilt(p, t, axes))


def _in_singles(p: Pass, t: Dense, f: Factor, n: int) -> Abstract:
    """An axis that a view cuts across its factors, index by index: no group acts on it, but scales still do."""
    if f.size > FEW or of_data(f.space):
        raise Misfit(f"a view cuts an axis of {f.size} at {n}")
    assert f.space is not None
    f.space.pieces("cat", (1,) * f.size, p.hints)
    return settled(p, t)


def _view_cat(p: Pass, t: Cat, shape: tuple[int, ...]) -> Abstract:
    old = t.shape
    t = _merged_outside_in(p, t, shape)
    outer = outer_size(t)
    total = old[t.axis] // outer
    inner = [part.shape[t.axis] // outer for part in t.parts]
    ahead, behind = prod(old[: t.axis]) * outer, prod(old[t.axis + 1 :])
    done = 1
    lead, k, pieces = 1, 0, list(inner)
    for k, n in enumerate(shape):  # noqa: B007
        if ahead % done == 0 and (lead := ahead // done) <= n and n % lead == 0:
            block = n // lead
            if block % total == 0 and (total * behind) % block == 0:
                pieces = [lead * m * (block // total) for m in inner]
                break
            if block > 1 and total % block == 0:
                where = (seams(t, t.axis) or ((), ()))[0], (total // block,) * block
                t = Cat(t.axis, t.outer, regrouped(p, t, t.axis, where))
                pieces = [lead] * block
                break
        done *= n
    else:
        undo_interleaving(p, t, t.axis)
        raise Misfit(f"a view from {old} to {shape} cuts across a concatenation")
    parts = [view(p, part, (*shape[:k], n, *shape[k + 1 :])) for part, n in zip(t.parts, pieces, strict=True)]
    if lead > 1 and any(seams(part, k) is not None for part in parts):
        for part in parts:
            if isinstance(part, Dense):
                in_singles_next(p, part.axes[k][: leading(p, part, k, lead)])
        raise Misfit("a concatenation of concatenations does not nest")
    return joined(k, leading(p, parts[0], k, lead), parts)


def _merged_outside_in(p: Pass, t: Cat, shape: tuple[int, ...]) -> Cat:
    """The same tensor as a concatenation along the axis before, if the view merges both and that has seams too."""
    before = t.axis - 1
    if before < 0 or t.outer or t.shape[before] == 1:
        return t
    where, ahead = seams(t, before), prod(t.shape[:before])
    merged = all(prod(shape[:k]) != ahead * t.shape[before] for k in range(len(shape)))
    if where is None or where[0] or not merged:
        return t
    return Cat(before, 0, cut(p, t, before, where))
