"""Moving axes about: views, permutations, slices, concatenations of abstract tensors."""

from __future__ import annotations

from math import gcd, prod

from isoloss.finding._abstract import Abstract, Cat, Dense, Factor, Misfit, Pass, settled, split
from isoloss.finding._forms import renamed
from isoloss.finding._space import Level, Space

# More single pieces than this are never worth telling apart: gates, fused QKV and such are few.
FEW = 64


def parts_of(t: Abstract) -> list[Dense]:
    """The Dense parts of a tensor."""
    return [t] if isinstance(t, Dense) else [d for part in t.parts for d in parts_of(part)]


def touch(t: Abstract) -> None:
    """An op reads these parameters."""
    for d in parts_of(t):
        if d.leaf is not None:
            d.leaf.used = True


def resolve(t: Abstract) -> Abstract:
    """A product that is used for something other than a sum is a nonlinear function like any other."""
    for d in parts_of(t):
        for _, f, _ in d.pending:
            assert f.space is not None
            f.space.lower(Level.PERMUTATION, "a product of two tensors that vary along it")
        d.pending = ()
    return t


def joined(axis: int, outer: int, parts: list[Abstract]) -> Abstract:
    """A Cat, flat where it can be."""
    flat: list[Abstract] = []
    for part in parts:
        if isinstance(part, Cat) and part.axis == axis and part.outer == outer:
            flat += part.parts
        else:
            flat.append(part)
    return flat[0] if len(flat) == 1 else Cat(axis, outer, flat)


def rebuilt(p: Pass, t: Dense, axes) -> Dense:
    """The same values with the factors in other axes; it stays the parameter that it was."""
    return p.dense(axes, t.scale, t.sign, leaf=t.leaf, pending=t.pending, affine=t.affine)


def permute(p: Pass, t: Abstract, dims: list[int]) -> Abstract:
    """torch.permute."""
    if isinstance(t, Cat):
        return Cat(dims.index(t.axis), t.outer, [permute(p, part, dims) for part in t.parts])
    return rebuilt(p, t, [t.axes[d] for d in dims])


def unsqueeze(p: Pass, t: Abstract, dim: int) -> Abstract:
    """A new axis of size one before dim."""
    if isinstance(t, Cat):
        return Cat(t.axis + (dim <= t.axis), t.outer, [unsqueeze(p, part, dim) for part in t.parts])
    return rebuilt(p, t, [*t.axes[:dim], (), *t.axes[dim:]])


def drop(p: Pass, t: Abstract, dim: int) -> Abstract:
    """Remove an axis of size one."""
    if isinstance(t, Cat):
        if t.axis == dim:
            raise Misfit("a concatenated axis is not of size one")
        return Cat(t.axis - (dim < t.axis), t.outer, [drop(p, part, dim) for part in t.parts])
    if t.axes[dim]:
        raise Misfit("only an axis of size one can be removed")
    return rebuilt(p, t, [*t.axes[:dim], *t.axes[dim + 1 :]])


def expand(p: Pass, t: Abstract, shape: tuple[int, ...]) -> Abstract:
    """torch.expand."""
    while len(t.shape) < len(shape):
        t = unsqueeze(p, t, 0)
    sizes = tuple(n if m == -1 else m for n, m in zip(t.shape, shape, strict=True))
    if isinstance(t, Cat):
        if sizes[t.axis] != t.shape[t.axis]:
            raise Misfit("a concatenated axis cannot be expanded")
        return Cat(
            t.axis,
            t.outer,
            [
                expand(p, part, (*sizes[: t.axis], part.shape[t.axis], *sizes[t.axis + 1 :]))
                for part in t.parts
            ],
        )
    axes = [axis if n == m else (p.factor(m),) for axis, n, m in zip(t.axes, t.shape, sizes, strict=True)]
    return rebuilt(p, t, axes)


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
    if f.size > FEW or _of_data(f.space):
        raise Misfit(f"a view cuts an axis of {f.size} at {n}")
    assert f.space is not None
    f.space.pieces("cat", (1,) * f.size, p.hints)
    return settled(p, t)


def _view_cat(p: Pass, t: Cat, shape: tuple[int, ...]) -> Abstract:
    old = t.shape
    t = _merged_outside_in(p, t, shape)
    outer = _outer_size(t)
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
                t = Cat(t.axis, t.outer, _regroup(p, t, t.axis, where))
                pieces = [lead] * block
                break
        done *= n
    else:
        _undo_interleaving(p, t, t.axis)
        raise Misfit(f"a view from {old} to {shape} cuts across a concatenation")
    parts = [view(p, part, (*shape[:k], n, *shape[k + 1 :])) for part, n in zip(t.parts, pieces, strict=True)]
    if lead > 1 and any(seams(part, k) is not None for part in parts):
        for part in parts:
            if isinstance(part, Dense):
                _in_singles_next(p, part.axes[k][: leading(p, part, k, lead)])
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


def _outer_size(t: Cat) -> int:
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
            _undo_interleaving(p, t, axis)
        raise
    return where


def _undo_interleaving(p: Pass, t: Abstract, axis: int) -> None:
    """Cut the factors outside a concatenation index by index: so told apart they nest with all; for the next pass."""
    if isinstance(t, Dense):
        return
    if t.axis != axis:
        for part in t.parts:
            _undo_interleaving(p, part, axis)
        return
    for part in parts_of(t):
        _in_singles_next(p, part.axes[axis][: t.outer])


def _in_singles_next(p: Pass, factors) -> None:
    for f in factors:
        if f.space is not None and f.size <= FEW and not _of_data(f.space):
            f.space.pieces("cat", (1,) * f.size, p.hints)


def cut(p: Pass, t: Abstract, axis: int, where: Seams) -> list[Abstract]:
    """The parts of a tensor between seams."""
    t = settled(p, t)
    outer, sizes = where
    if isinstance(t, Cat):
        if t.axis != axis:
            columns = [cut(p, part, axis, where) for part in t.parts]
            return [Cat(t.axis, t.outer, [c[i] for c in columns]) for i in range(len(sizes))]
        if _outer_size(t) != prod(outer):
            raise Misfit("concatenations interleave in different ways")
        return _regroup(p, t, axis, where)
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


def _regroup(p: Pass, t: Cat, axis: int, where: Seams) -> list[Abstract]:
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


def narrow(p: Pass, t: Abstract, axis: int, start: int, length: int) -> Abstract:
    """The indices from start on, along an axis."""
    size = t.shape[axis]
    if length == size:
        return t
    t = settled(p, t)
    if isinstance(t, Dense):
        if all(f.space is None for f in t.axes[axis]):
            return rebuilt(p, t, [*t.axes[:axis], (p.factor(length),), *t.axes[axis + 1 :]])
        if all(_of_data(f.space) for f in t.axes[axis]):
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


def cat(p: Pass, tensors: list[Abstract], axis: int) -> Abstract:
    """torch.cat; pieces of an axis of data that agree in everything else are merged."""
    tensors = [settled(p, t) for t in tensors]
    if len(tensors) == 1:
        return tensors[0]
    dense = [t for t in tensors if isinstance(t, Dense)]
    if len(dense) < len(tensors) or not (_interchangeable(dense, axis) or len(dense) > FEW):
        return joined(axis, 0, tensors)
    return weld(p, Cat(axis, 0, tensors))


def weld(p: Pass, t: Cat) -> Abstract:
    """The tensor without the seams of its concatenated axis, whose parts must then move alike."""
    from isoloss.finding._calculus import add

    return told_apart(
        p, add(p, [told_apart(p, part, t.axis, 1) for part in t.parts]), t.axis, t.shape[t.axis]
    )


def told_apart(p: Pass, t: Abstract, axis: int, size: int) -> Abstract:
    """One axis replaced by a new one, along which nothing moves."""
    if isinstance(t, Dense):
        return blur(p, t, axis, size)
    if t.axis == axis:
        return told_apart(p, weld(p, t), axis, size)
    return Cat(t.axis, t.outer, [told_apart(p, part, axis, size) for part in t.parts])


def _interchangeable(tensors: list[Dense], axis: int) -> bool:
    """Is the axis one of data, and are the tensors alike along all others?"""

    def roots(t: Dense) -> list:
        return [f.space and f.space.root() for a, fs in enumerate(t.axes) if a != axis for f in fs]

    along = [f.space for t in tensors for f in t.axes[axis]]
    return all(map(_of_data, along)) and all(roots(t) == roots(tensors[0]) for t in tensors)


def _of_data(space: Space | None) -> bool:
    """Does nothing move along it, and is it no axis of a parameter either?"""
    root = None if space is None else space.root()
    return root is None or (root.level == Level.RIGID and all(key[0] != "tensor" for key, _ in root.origins))
