"""Which entries of a parameter two blocks have in common."""

from collections.abc import Iterable
from functools import lru_cache

from isoloss.symmetry import Block, Shift, Slot, Symmetry


@lru_cache(maxsize=4096)
def indices(block: Block) -> tuple[frozenset[int], ...]:
    """For each axis of the tensor, the indices that the block has; a block is their product."""
    found = []
    for start, factors in zip(block.start, block.factors, strict=True):
        here = {start}
        for size, step in factors:
            here = {i + k * step for i in here for k in range(size)}
        found.append(frozenset(here))
    return tuple(found)


def overlap(one: Block, two: Block) -> bool:
    """Do the blocks share an entry?"""
    return all(a & b for a, b in zip(indices(one), indices(two), strict=True))


def same(one: Block, two: Block) -> bool:
    """Have the blocks the same entries?"""
    return indices(one) == indices(two)


def clouded(slot: Slot | Shift, known: Iterable[Symmetry], unknown: Iterable[Symmetry]) -> bool:
    """Does a known symmetry move these entries by an amount that it reads where unknown ones write?"""
    written = {name for other in unknown for name in other.parameters}
    flows = (other for other in known if other.whole and slot.parameter in other.parameters)
    if any(written & {*other.reads, *other.parameters} for other in flows):
        return True
    return any(
        rival.parameter == slot.parameter and written & set(rival.reads) and overlap(rival.block, slot.block)
        for other in known
        for rival in other.slots
    )
