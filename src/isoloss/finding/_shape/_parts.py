"""The Dense parts of a tensor, and putting parts together."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Cat, Dense, Pass
from isoloss.finding._space import Level, Space


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


def of_data(space: Space | None) -> bool:
    """Does nothing move along it, and is it no axis of a parameter either?"""
    root = None if space is None else space.root()
    return root is None or (root.level == Level.RIGID and all(key[0] != "tensor" for key, _ in root.origins))
