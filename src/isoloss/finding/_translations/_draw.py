"""The inner products of all columns with the gradients of one random point."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor

from isoloss.finding._abstract import Leaf
from isoloss.finding._gradients import random_gradients
from isoloss.finding._translations._column import Column, Move
from isoloss.finding._verify import Verifier

Values = dict[str, Tensor]
# A gradient in float64 carries some thirteen digits; a relation that holds to nine is not an accident.
ZERO = 1e-9
# A gradient this much smaller than the largest is rounding.
NOTHING = 1e-13
# Entries of a column that are looked at, if it has more.
SAMPLE = 8192


def drawn(columns: list[Column], verifier: Verifier) -> Draw | None:
    """One random point, with the inputs there or else with the examples; None if no gradient is finite."""
    draw = Draw(columns, verifier.tensors)
    if random_gradients(verifier, draw.visit):
        return draw
    verifier.return_to_examples()
    draw = Draw(columns, verifier.tensors)
    return draw if random_gradients(verifier, draw.visit) else None


class Draw:
    """Inner products of the directions of all columns with the gradients of one random point.

    Attributes:
        values: Of every column, flat; of large ones every so many entries, for a relation among whole matrices
            shows in a few thousand of them.
        largest: Norm of the largest gradient.
    """

    def __init__(self, columns: list[Column], tensors: Values):
        self._tensors = tensors
        self.values = [
            torch.zeros(-(-size // (size // SAMPLE + 1)), dtype=torch.float64)
            for size in (prod(s.size for s in c.key) for c in columns)
        ]
        # How large each would be if nothing cancelled.
        self._sizes = [0.0] * len(columns)
        self.largest = 0.0
        self._norms: dict[int, float] = {}
        self._moves: dict[str, list[tuple[int, Move]]] = {}
        for i, column in enumerate(columns):
            for move in column.moves:
                self._moves.setdefault(move[0].name, []).append((i, move))
        self._blocks: dict[tuple, tuple[Tensor, float]] = {}

    def visit(self, name: str, gradient: Tensor, largest: float) -> None:
        """Take in the gradient of one parameter."""
        self.largest = max(self.largest, largest)
        norms = self._norms
        for i, (leaf, equation, operands, factor) in self._moves.get(name, ()):
            inputs, output = equation.split("->")
            index, *rest = inputs.split(",")
            g = leaf.block.view(gradient)
            if leaf.index not in norms:
                norms[leaf.index] = float(torch.linalg.vector_norm(g))
            size, blocks = norms[leaf.index], []
            for (o, power), letters in zip(operands, rest, strict=True):
                # Letters that only this block has (a kernel) are summed once, not for every bias behind it.
                kept = "".join(c for c in letters if c in output + index or sum(c in r for r in rest) > 1)
                block, length = self._block(o, power, letters, kept)
                blocks.append((block, kept))
                size *= length
            names = ",".join([output, *(k for _, k in blocks)])
            value = torch.einsum(f"{names}->{index}", g, *(b for b, _ in blocks)).reshape(-1)
            self.values[i].add_(value[:: value.numel() // SAMPLE + 1].cpu(), alpha=factor)
            self._sizes[i] += size

    def invisible(self) -> set[int]:
        """Columns that no gradient sees: those that cancel, and those that lie in rounding."""
        return {
            i
            for i, (value, size) in enumerate(zip(self.values, self._sizes, strict=True))
            if size <= NOTHING * self.largest or float(value.norm()) <= ZERO * size
        }

    def unseen(self, leaves: Iterable[Leaf]) -> set[int]:
        """Numbers of the blocks, of those that have columns of their own, that the outputs do not depend on at all."""
        least = NOTHING * self.largest
        return {x.index for x in leaves if self._norms.get(x.index, 0.0) <= least}

    def _block(self, leaf: Leaf, power: int, letters: str, kept: str) -> tuple[Tensor, float]:
        """A block to a power, summed over the letters not kept, and the norm before that."""
        key = (leaf.index, power, letters, kept)
        if key not in self._blocks:
            x = leaf.block.view(self._tensors[leaf.name])
            x = x if power == 1 else x**power
            self._blocks[key] = (
                x if kept == letters else torch.einsum(f"{letters}->{kept}", x),
                float(torch.linalg.vector_norm(x)),
            )
        return self._blocks[key]
