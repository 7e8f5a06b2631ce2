"""All weights of many optimizees as one matrix, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from isoloss.learn._tensors import Tensors


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the weights of one optimizee, in the order in which they are flattened.

    Attributes:
        shapes: By name, without the axis over the tasks.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Layout":
        """That of weights (n, *shape) by name."""
        return cls(tuple((name, tuple(t.shape[1:])) for name, t in tensors.items()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of every tensor."""
        return tuple(prod(shape) for _, shape in self.shapes)

    @property
    def size(self) -> int:
        """Number of entries altogether."""
        return sum(self.sizes)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """To (n, size)."""
        return torch.cat([tensors[name].reshape(len(tensors[name]), -1) for name, _ in self.shapes], 1)

    def unflatten(self, flat: Tensor) -> Tensors:
        """From (n, size)."""
        parts = flat.split(self.sizes, 1)
        return {
            name: part.unflatten(1, shape or (1,)).reshape(len(flat), *shape)
            for (name, shape), part in zip(self.shapes, parts, strict=True)
        }

    def per_tensor(self, flat: Tensor) -> Tensor:
        """Root mean square of every tensor, (n, number of tensors), from (n, size)."""
        parts = flat.split(self.sizes, 1)
        return torch.cat([length(part) / size**0.5 for part, size in zip(parts, self.sizes, strict=True)], 1)

    def spread(self, values: Tensor) -> Tensor:
        """One value per tensor, (n, number of tensors), to every one of its entries, (n, size)."""
        return torch.cat(
            [v.expand(-1, size) for v, size in zip(values.split(1, 1), self.sizes, strict=True)], 1
        )


def length(x: Tensor) -> Tensor:
    """Euclidean length of every row, (n, 1), from (n, size).

    Squares neither overflow nor vanish, and the derivative at rows of zeros is 0.
    """
    largest = x.detach().abs().amax(1, keepdim=True)
    some = largest != 0
    unit = torch.where(some, largest, 1.0)
    squares = (x / unit).square().sum(1, keepdim=True)
    return torch.where(some, unit * torch.where(some, squares, 1.0).sqrt(), 0.0)


def length_or_one(x: Tensor) -> Tensor:
    """The same, and 1 where it is 0: what other lengths can be measured by."""
    found = length(x)
    return torch.where(found == 0, 1.0, found)
