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
        return torch.cat([tensors[name].flatten(1) for name, _ in self.shapes], 1)

    def unflatten(self, flat: Tensor) -> Tensors:
        """From (n, size)."""
        parts = flat.split(self.sizes, 1)
        return {
            name: part.unflatten(1, shape or (1,)).reshape(len(flat), *shape)
            for (name, shape), part in zip(self.shapes, parts, strict=True)
        }

    def per_tensor(self, flat: Tensor) -> Tensor:
        """Root mean square of every tensor, (n, number of tensors), from (n, size)."""
        return torch.stack([part.square().mean(1).sqrt() for part in flat.split(self.sizes, 1)], 1)

    def spread(self, values: Tensor) -> Tensor:
        """One value per tensor, (n, number of tensors), to every one of its entries, (n, size)."""
        return torch.cat(
            [v.expand(-1, size) for v, size in zip(values.split(1, 1), self.sizes, strict=True)], 1
        )
