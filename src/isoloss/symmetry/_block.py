"""A rectangular, possibly strided, part of a tensor, seen with one dimension per factor of its axes."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Block:
    """Where in a tensor a symmetry acts.

    Every axis of the tensor is read as a nest of factors. A fused QKV axis of 3 * 12 * 64 rows has, for the
    keys, start 768 and factors ((12, 64), (64, 1)): 12 heads, 64 rows apart, of 64 rows each.

    Attributes:
        start: First index of the block along each axis of the tensor.
        factors: For each axis, pairs (size, step), outermost first; the step counts indices of that axis.
    """

    start: tuple[int, ...]
    factors: tuple[Factors, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> "Block":
        """The block that is a whole tensor of this shape, one factor per axis."""
        return cls((0,) * len(shape), tuple(((n, 1),) for n in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the view, one per factor."""
        return tuple(size for axis in self.factors for size, _ in axis)

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Is this block all of a tensor of that shape, in order?"""
        return not any(self.start) and all(
            prod(s for s, _ in axis) == n and _nested(axis)
            for axis, n in zip(self.factors, shape, strict=True)
        )

    def view(self, tensor: Tensor) -> Tensor:
        """The block as a view that shares memory with the tensor, one dimension per factor."""
        if self.covers(tuple(tensor.shape)):
            return tensor.view(self.shape) if tensor.is_contiguous() else self._strided(tensor)
        return self._strided(tensor)

    def inside(self, outer: "Block") -> "Block":
        """This block of what another block shows, as a block of the tensor that the other lies in.

        Args:
            outer: Its view has the shape of the tensor that this block is of; ``inside(outer).view(t)`` shows what
                ``view(outer.view(t))`` does.
        """
        start, factors, taken = [], [], 0
        for first, axis in zip(outer.start, outer.factors, strict=True):
            mine = range(taken, taken + len(axis))
            steps = [step for _, step in axis]
            start.append(first + sum(self.start[i] * step for i, step in zip(mine, steps, strict=True)))
            factors.append(
                tuple(
                    (size, step * along)
                    for i, step in zip(mine, steps, strict=True)
                    for size, along in self.factors[i]
                )
            )
            taken += len(axis)
        return Block(tuple(start), tuple(factors))

    def lies_in(self, shape: tuple[int, ...]) -> bool:
        """Has a tensor of this shape all the entries that the block counts off?"""
        return len(shape) == len(self.factors) and all(
            0 <= start and start + sum((size - 1) * step for size, step in axis) < n
            for start, axis, n in zip(self.start, self.factors, shape, strict=True)
        )

    def read(self, tensor: Tensor) -> Tensor:
        """What `view` shows, not to be written to; runs under `torch.func`, whatever is batched there."""
        if not transformed():
            return self.view(tensor)
        if self.covers(tuple(tensor.shape)):
            return tensor.reshape(self.shape)
        return tensor.flatten()[self._places(tensor)].reshape(self.shape)

    def replaced(self, tensor: Tensor, new: Tensor) -> Tensor:
        """The tensor with new values in this block, as a new tensor; runs under `torch.func`.

        Args:
            tensor: The whole.
            new: What comes in the place of the block, of the shape of its view.
        """
        places = self._places(tensor)
        return tensor.flatten().index_put((places,), new.to(tensor.dtype).flatten()).reshape(tensor.shape)

    def _places(self, tensor: Tensor) -> Tensor:
        # Of the flattened tensor, in the order of the view.
        shape = tuple(tensor.shape)
        return self.view(torch.arange(prod(shape), device=tensor.device).reshape(shape)).flatten()

    def _strided(self, tensor: Tensor) -> Tensor:
        stride = [
            step * along
            for axis, along in zip(self.factors, tensor.stride(), strict=True)
            for _, step in axis
        ]
        offset = sum(s * along for s, along in zip(self.start, tensor.stride(), strict=True))
        return tensor.as_strided(self.shape, stride, tensor.storage_offset() + offset)


def transformed() -> bool:
    """Is this inside a transform of `torch.func`? There what is batched cannot be written into what is not."""
    return peek_interpreter_stack() is not None


def _nested(axis: Factors) -> bool:
    inner = 1
    for size, step in reversed(axis):
        if size > 1 and step != inner:
            return False
        inner *= size
    return True
