"""Rotary embeddings: the positive scaling of a frequency is half of a complex one.

A rotary embedding multiplies the pair (q_f, q_f') by a phase that depends on the position, so a complex number
c_f, which commutes with phases, may multiply the queries' pair, and 1 / conj(c_f) the keys'. The search of scales
finds |c_f|; what it scales are pairs of equal blocks, and the phase turns them into each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isoloss.groups import ComplexScaling, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetry


def with_phases(symmetries: Iterable[Symmetry]) -> Iterator[tuple[Symmetry, Symmetry]]:
    """Scalings that act on pairs of blocks, each with the complex scaling that it may be half of."""
    for s in symmetries:
        if isinstance(s.group, PositiveScaling) and s.batch and s.exact:
            pairs = _pairs(s)
            if pairs is not None:
                yield s, Symmetry(ComplexScaling(s.group.n), pairs, s.batch, "rotary phase")


def _pairs(symmetry: Symmetry) -> tuple[Slot, ...] | None:
    todo = [slot for slot in symmetry.slots if isinstance(slot, Slot)]
    found = []
    while todo:
        first = todo.pop(0)
        partner = next((s for s in todo if _apart(first, s) is not None), None)
        if partner is None or abs(first.charge) != 1:
            return None
        todo.remove(partner)
        found.append(_paired(first, *_apart(first, partner)))  # type: ignore[misc]
    return tuple(found)


def _apart(a: Slot, b: Slot) -> tuple[int, int] | None:
    """The axis along which two otherwise equal slots lie apart, and by how much."""
    same = a.parameter == b.parameter and a.charge == b.charge and a.dims == b.dims
    if not same or a.block.factors != b.block.factors:
        return None
    steps = [
        (axis, y - x) for axis, (x, y) in enumerate(zip(a.block.start, b.block.start, strict=True)) if x != y
    ]
    return steps[0] if len(steps) == 1 and steps[0][1] > 0 else None


def _paired(slot: Slot, axis: int, step: int) -> Slot:
    """The slot with one more dimension, of size two, before the group's own: real and imaginary part."""
    *batch, own = slot.dims
    start = sum(len(f) for f in slot.block.factors[:axis])
    inside = own - start
    factors = list(slot.block.factors)
    factors[axis] = (*factors[axis][:inside], (2, step), *factors[axis][inside:])
    moved = [d + (d >= own) for d in batch]
    return Slot(slot.parameter, Block(slot.block.start, tuple(factors)), (*moved, own, own + 1), slot.charge)
