"""Parameters, or data, as vectors: what lies in a tree of tensors, one after another."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Space:
    """A tree of tensors of fixed shapes (a tensor, a dict of them, a tuple of dicts...), and R^p.

    Attributes:
        names: The leaves in order, by their place in the tree: "weight", "0.x"; "" for a bare tensor.
        shapes: Of one sample of each leaf.
        structure: Of the tree.
        where: Who made it, for messages.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    structure: Any
    where: str

    @classmethod
    def of(cls, tree: Any, where: str) -> "Space":
        """That of a batch of samples: every leaf has the samples along its first axis.

        Args:
            tree: Floating-point tensors, (n, *shape) each with the same n.
            where: Who asks, for messages.

        Raises:
            ValueError: If there is no tensor, a leaf is none or holds no real numbers, or the leaves do not agree on n.
        """
        paths, structure = pytree.tree_flatten_with_path(tree)
        names = tuple(".".join(_word(key) for key in path) for path, _ in paths)
        for name, (_, leaf) in zip(names, paths, strict=True):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or leaf.dim() == 0:
                got = f"{leaf.dtype} of shape {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else repr(leaf)
                raise ValueError(
                    f"{where}: samples must be tensors of real numbers, (n, *shape); got {got}{_called(name)}; "
                    "return torch.randn(n, 3), say, or a dict of such."
                )
        counts = {len(leaf) for _, leaf in paths}
        if len(counts) != 1:
            raise ValueError(
                f"{where}: all tensors must hold the same number of samples; got {sorted(counts) or 'no tensor'}; "
                "put the samples along the first axis of each."
            )
        shapes = tuple(tuple(leaf.shape[1:]) for _, leaf in paths)
        return cls(names, shapes, structure, where)

    @property
    def size(self) -> int:
        """p, the number of coordinates."""
        return sum(map(prod, self.shapes))

    def flat(self, tree: Any) -> Tensor:
        """The samples as vectors, (n, p).

        Raises:
            ValueError: If the tree is another, or its tensors have other shapes than before.
        """
        leaves, structure = pytree.tree_flatten(tree)
        if structure != self.structure:
            raise ValueError(
                f"{self.where}: samples must be alike from call to call; got {structure} after {self.structure}; "
                "return the same tree each time."
            )
        for name, leaf, shape in zip(self.names, leaves, self.shapes, strict=True):
            if not isinstance(leaf, Tensor) or tuple(leaf.shape[1:]) != shape:
                got = tuple(leaf.shape[1:]) if isinstance(leaf, Tensor) else repr(leaf)
                raise ValueError(
                    f"{self.where}: samples must have the same shapes from call to call; got {got} after "
                    f"{shape}{_called(name)}; return (n, *shape) with one shape."
                )
        return torch.cat(
            [leaf.reshape(len(leaf), prod(s)) for leaf, s in zip(leaves, self.shapes, strict=True)], 1
        )

    def tree(self, flat: Tensor) -> Any:
        """Vectors as trees; leading axes are kept.

        Args:
            flat: (*axes, p).

        Returns:
            The tree, its leaves (*axes, *shape).
        """
        parts = flat.split([prod(s) for s in self.shapes], -1)
        leaves = [part.reshape((*flat.shape[:-1], *s)) for part, s in zip(parts, self.shapes, strict=True)]
        return pytree.tree_unflatten(leaves, self.structure)


def _word(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _called(name: str) -> str:
    return f" for {name}" if name else ""
