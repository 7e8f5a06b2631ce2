"""Parameters, or data, as vectors: what lies in a tree of tensors, one after another."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from isoloss._checks import holds

WHOLE = 2**24
"""Whole numbers up to it are exact in float32."""


@dataclass(frozen=True)
class Space:
    """A tree of tensors of fixed shapes (a tensor, a dict of them, a tuple of dicts...), and R^p.

    Attributes:
        names: The leaves in order, by their place in the tree: "weight", "0.x"; "" for a bare tensor.
        shapes: Of one sample of each leaf.
        structure: Of the tree.
        where: Who made it, for messages.
        whole: For each leaf, its dtype if that is of whole numbers or of truth values, to which `tree` brings it back;
            None for real numbers. Empty if all are real.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    structure: Any
    where: str
    whole: tuple[torch.dtype | None, ...] = ()

    @classmethod
    def of(cls, tree: Any, where: str, whole: bool = False) -> "Space":
        """That of a batch of samples: every leaf has the samples along its first axis.

        Args:
            tree: Floating-point tensors, (n, *shape) each with the same n.
            where: Who asks, for messages.
            whole: Whether tensors of whole numbers or truth values will do too, as for data: class labels, tokens,
                masks. As coordinates they are real numbers.

        Raises:
            ValueError: If there is no tensor, a leaf is none or holds no real numbers, or the leaves do not agree on n.
        """
        paths, structure = pytree.tree_flatten_with_path(tree)
        names = tuple(".".join(_word(key) for key in path) for path, _ in paths)
        for name, (_, leaf) in zip(names, paths, strict=True):
            if not isinstance(leaf, Tensor) or not (whole or leaf.is_floating_point()) or _bad(leaf):
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
        dtypes = tuple(None if leaf.is_floating_point() else leaf.dtype for _, leaf in paths)
        return cls(names, shapes, structure, where, dtypes if any(dtypes) else ())

    @property
    def size(self) -> int:
        """p, the number of coordinates."""
        return sum(map(prod, self.shapes))

    def flat(self, tree: Any) -> Tensor:
        """The samples as vectors, (n, p).

        Raises:
            ValueError: If the tree is another, its tensors have other shapes than before, or whole numbers are too
                large to be exact.
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
        pairs = zip(self._real(leaves), self.shapes, strict=True)
        return torch.cat([leaf.reshape(len(leaf), prod(s)) for leaf, s in pairs], 1)

    def tree(self, flat: Tensor) -> Any:
        """Vectors as trees; leading axes are kept.

        Args:
            flat: (*axes, p).

        Returns:
            The tree, its leaves (*axes, *shape).
        """
        parts = flat.split([prod(s) for s in self.shapes], -1)
        leaves = [part.reshape((*flat.shape[:-1], *s)) for part, s in zip(parts, self.shapes, strict=True)]
        if self.whole:
            pairs = zip(leaves, self.whole, strict=True)
            leaves = [leaf if dtype is None else leaf.round().to(dtype) for leaf, dtype in pairs]
        return pytree.tree_unflatten(leaves, self.structure)

    def _real(self, leaves: list[Tensor]) -> list[Tensor]:
        if not self.whole:
            return leaves
        found = []
        for name, leaf, dtype in zip(self.names, leaves, self.whole, strict=True):
            if dtype is not None and not holds(leaf.to(torch.int64).abs() <= WHOLE):
                raise ValueError(
                    f"{self.where}: whole numbers must be at most {WHOLE:,}; got {int(leaf.abs().max()):,}"
                    f"{_called(name)}; number them from 0."
                )
            found.append(leaf if dtype is None else leaf.to(torch.get_default_dtype()))
        return found


def _word(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _bad(leaf: Tensor) -> bool:
    return leaf.dim() == 0 or leaf.is_complex()


def _called(name: str) -> str:
    return f" for {name}" if name else ""
