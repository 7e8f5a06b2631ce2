"""What ops do to abstract tensors: the four verbs that every rule is written in.

pointwise (add, multiply, any function of each element), contract, reduce and normalise; and freeze, for what none
of them describes. Each identifies spaces, lowers their levels and writes down the equations of scales and signs.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from isoloss.finding._abstract import (
    Abstract,
    Cat,
    Dense,
    Factor,
    Misfit,
    Pass,
    fresh_labels,
    nest,
    settled,
    unify,
)
from isoloss.finding._forms import Form, plus, renamed, times
from isoloss.finding._shape import (
    cut,
    drop,
    joined,
    leading,
    meet,
    parts_of,
    resolve,
    seams,
    touch,
    unsqueeze,
)
from isoloss.finding._space import Level, Node, tie

Column = list[Factor | None]
Combine = Callable[..., tuple[Form | None, Form | None]]
CURVED = "a nonlinear function acts on each element"


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
    args = [_padded(p, t, rank) for t in args]
    for axis in range(rank):
        where = meet(p, [(t, axis) for t in args if t.shape[axis] > 1])
        if where is not None:
            columns = [cut(p, t, axis, where) if t.shape[axis] > 1 else [t] * len(where[1]) for t in args]
            parts = [pointwise(p, list(row), combine, lazy) for row in zip(*columns, strict=True)]
            return _joined(p, axis, where, parts)
    dense = _distinct(p, [t for t in args if isinstance(t, Dense)])
    known = p.hints.count
    table = [_columns(p, [t.axes[a] for t in dense]) for a in range(rank)]
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


def elementwise(
    p: Pass, t: Abstract, scale: Fraction | int | None, sign: int | None, small: bool = False
) -> Abstract:
    """A nonlinear function of each element, homogeneous of degree `scale` (None: of no degree), of parity `sign`.

    Args:
        p: The pass.
        t: Its argument.
        scale: f(s x) = s ** scale f(x) for s > 0; None if there is no such degree.
        sign: 1 for odd, 0 for even, None for neither.
        small: It has no degree only because of an eps.
    """

    def combine(p: Pass, args: list[Dense], table: list[list[Column]]):
        lower_all(args, Level.PERMUTATION, CURVED)
        (x,) = args
        return _powered(p, x, scale, sign, small)

    return pointwise(p, [t], combine)


def _powered(p: Pass, x: Dense, scale, sign, small) -> tuple[Form | None, Form | None]:
    if scale is None and x.scale:
        p.scale.demand(x.scale, nearly=small)
    if sign is None and x.sign:
        p.sign.demand(x.sign)
    form = x.scale if small and scale is None else (None if x.scale is None else times(x.scale, scale or 0))
    if x.scale is None:
        # f(0) = 0 for odd functions and for positive degrees; otherwise it is a constant.
        return (None, None) if sign == 1 or (scale or 0) > 0 else ({}, {})
    return form or {}, (x.sign or {}) if sign == 1 else {}


def linear(p: Pass, t: Abstract, negate: bool = False) -> Abstract:
    """A multiple of each element by one constant: nothing changes."""
    touch(t)
    return settled(p, t)


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


def bind(p: Pass, f: Factor, g: Factor, dual: bool) -> None:
    """Let the matrix groups on two factors of one space move together."""
    space = f.space
    if space is None or space.root().level <= Level.PERMUTATION:
        return
    possible, rotated = tie(f.node, g.node, dual)
    if not possible:
        space.lower(Level.PERMUTATION, "it is read through different diagonal weights")
    elif rotated is not None:
        space.lower(Level.ORTHOGONAL, "it meets itself, and only a rotation is its own inverse transpose")
        p.rotations.append((space, rotated))


def rotate(p: Pass, f: Factor, why: str) -> None:
    """Only rotations may act on this factor."""
    if f.space is not None:
        f.space.lower(Level.ORTHOGONAL, why)
        p.rotations.append((f.space, f.node))


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
            return _joined(p, n, where, [contract(p, x, y, batch, pairs) for x, y in both])
    for n, i in enumerate(free_a):
        if (where := seams(a, i)) is not None:
            parts = [contract(p, x, b, batch, pairs) for x in cut(p, a, i, where)]
            return _joined(p, len(batch) + n, where, parts)
    for n, j in enumerate(free_b):
        if (where := seams(b, j)) is not None:
            parts = [contract(p, a, y, batch, pairs) for y in cut(p, b, j, where)]
            return _joined(p, len(batch) + len(free_a) + n, where, parts)
    assert isinstance(a, Dense) and isinstance(b, Dense)
    a, b = _distinct(p, [a, b])
    known = p.hints.count
    met = {(i, j): _columns(p, [a.axes[i], b.axes[j]]) for i, j in (*batch, *pairs)}
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


def reduce(p: Pass, t: Abstract, dims: list[int], keepdim: bool, kind: str = "sum") -> Abstract:
    """Sum or mean (`sum`), maximum or minimum (`max`), or Euclidean norm (`norm`) along axes."""
    t = settled(p, t)
    for d in dims:
        where = seams(t, d)
        if where is not None:
            parts = [reduce(p, part, dims, True, kind) for part in cut(p, t, d, where)]
            total = add(p, parts)
            return total if keepdim else _dropped(p, total, dims)
    if isinstance(t, Cat):
        parts = [reduce(p, part, dims, True, kind) for part in t.parts]
        total = joined(t.axis, t.outer, parts)
        return total if keepdim else _dropped(p, total, dims)
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
    return result if keepdim else _dropped(p, result, dims)


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


def freeze(p: Pass, t: Abstract, why: str) -> None:
    """Nothing may change this tensor."""
    for d in parts_of(settled(p, t)):
        touch(d)
        lower_all([d], Level.RIGID, why)
        if d.scale:
            p.scale.demand(d.scale)
        if d.sign:
            p.sign.demand(d.sign)


def lower_all(tensors: list[Dense], level: Level, why: str) -> None:
    """Lower every space of some tensors."""
    for t in tensors:
        for f in t.factors:
            if f.space is not None:
                f.space.lower(level, why)


def _joined(p: Pass, axis: int, where, parts: list[Abstract]) -> Abstract:
    outer = 1
    for n in where[0]:
        outer *= n
    return joined(axis, leading(p, parts[0], axis, outer), parts)


def _padded(p: Pass, t: Abstract, rank: int) -> Abstract:
    while len(t.shape) < rank:
        t = unsqueeze(p, t, 0)
    return t


def _dropped(p: Pass, t: Abstract, dims: list[int]) -> Abstract:
    for d in sorted(dims, reverse=True):
        t = drop(p, t, d)
    return t


def _distinct(p: Pass, tensors: list[Dense]) -> list[Dense]:
    """Tensors without labels in common."""
    taken: set[int] = set()
    result = []
    for t in tensors:
        labels = {f.label for f in t.factors}
        if taken & labels:
            t = fresh_labels(p, t)
            labels = {f.label for f in t.factors}
        taken |= labels
        result.append(t)
    return result


def _columns(p: Pass, axes: list) -> list[Column]:
    present = [i for i, axis in enumerate(axes) if axis]
    if not present:
        return []
    nested = dict(zip(present, nest(p, [axes[i] for i in present]), strict=True))
    width = len(nested[present[0]])
    return [[nested[i][n] if i in nested else None for i in range(len(axes))] for n in range(width)]
