"""What ops take away from the groups on a space."""

from __future__ import annotations

from isoloss.finding._abstract import Abstract, Dense, Factor, Pass, settled
from isoloss.finding._shape import parts_of, touch
from isoloss.finding._space import Level, tie

CURVED = "a nonlinear function acts on each element"


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
