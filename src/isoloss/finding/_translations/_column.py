"""A column: a family of directions in parameter space that share their index spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from isoloss.finding._abstract import Leaf
from isoloss.finding._space import Space
from isoloss.symmetry import Operand, Shift

Key = tuple[Space, ...]
Move = tuple[Leaf, str, tuple[tuple[Leaf, int], ...], float]
# Two columns are one if they agree to this, relative to their size.
SAME = 1e-7
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(eq=False)
class Column:
    """A family of directions in parameter space, indexed by spaces, and its inner products with a gradient.

    Attributes:
        key: The index spaces of the translation.
        moves: For each block that moves: leaf, equation, operands, factor.
        whole: Do they shift one block by anything whatever?
        alone: Is it invisible or nothing, in no relation with others?
    """

    key: Key
    moves: list[Move]
    whole: bool = False
    alone: bool = False

    @property
    def leaf(self) -> Leaf:
        """The first block that moves."""
        return self.moves[0][0]

    def shifts(self, factor: float) -> Iterator[Shift]:
        """Its directions as shifts, times a factor."""
        for leaf, equation, operands, own in self.moves:
            inputs, output = equation.split("->")
            index, *rest = inputs.split(",")
            equation = ",".join([index or "z", *rest]) + "->" + output
            passed = tuple(Operand(o.name, o.block, power) for o, power in operands)
            yield Shift(leaf.name, leaf.block, equation, passed, _plain(own * factor))


def _plain(c: float) -> Fraction | float:
    simple = Fraction(c).limit_denominator(64)
    return simple if abs(float(simple) - c) <= SAME * abs(c) else c
