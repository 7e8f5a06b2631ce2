"""Axes in another order, new ones, and ones of size one."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Cat, Misfit, Pass
from isoloss.finding._shape._parts import rebuilt


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
