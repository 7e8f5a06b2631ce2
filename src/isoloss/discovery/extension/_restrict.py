"""restrict: a symmetry for batches of d points is one for batches of fewer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map, tree_structure

from isoloss._checks import is_whole
from isoloss.discovery._sampler import seeded
from isoloss.discovery._symmetry import DiscoveredSymmetry, Field


@dataclass(frozen=True)
class RestrictedField:
    r"""The velocity on fewer points: that on the same points with others appended, :math:`v_{t(X)}`.

    Attributes:
        full: The velocity on `size` points.
        filler: The points that are appended, at least so many as can be missing.
        size: d.
    """

    full: Field = field(repr=False)
    filler: Any = field(repr=False)
    size: int

    def filled(self, data: Any) -> Any:
        """t(X): the batch, and as many of the first points of the filler as it lacks.

        Raises:
            ValueError: If the batch has more than d points, or other tensors than the filler.
        """
        points = _count(data, "restrict: data")
        if points > self.size:
            raise ValueError(
                f"restrict: a batch must have at most the {self.size} points of the symmetry; got {points}; "
                "split it, or find a symmetry for larger batches."
            )
        if points == self.size:
            return data
        if tree_structure(data) != tree_structure(self.filler):
            raise ValueError(
                f"restrict: filler points must be like those of the data; got {tree_structure(self.filler)} for "
                f"{tree_structure(data)}; return the same tree of tensors."
            )
        return tree_map(lambda x, more: _joined(x, more[: self.size - points]), data, self.filler)

    def __call__(self, c: Tensor, tensors: dict[str, Tensor], data: Any) -> dict[str, Tensor]:
        """The velocity along the coefficients c, by name."""
        return dict(self.full(c, tensors, self.filled(data)))


def restrict(
    symmetry: DiscoveredSymmetry,
    data: Any,
    filler: Any | Callable[[int], Any],
    *,
    size: int | None = None,
    seed: int = 0,
) -> DiscoveredSymmetry:
    r"""Use a symmetry for batches of d points on batches of fewer, :math:`d' < d`, by appending points.

    .. math:: a'_X = a_{t(X)}, \qquad t: \mathcal{D}^{d'} \to \mathcal{D}^d

    It holds for functions that treat each point by itself: where the values at all d points stay, those at d' of them
    do. Not for a network whose points meet, as in batch norm in training, and not for a mean over the batch: that of
    d points may stay while that of d' moves.

    The points are drawn once, here. The paper appends random ones; if each call drew others, the loss would still
    stay, but a' would be no action: g^-1 after g, on other points, does not lead back.

    Args:
        symmetry: Data-dependent, for batches of `size` points.
        data: Fewer points, as the symmetry takes them: tensors (d', ...), in a tree. `at(data)` of the result takes
            other batches, of up to d points.
        filler: Points to append: a tree of tensors (at least d - d', ...), or a sampler, n -> such a tree.
        size: d; by default as many points as the symmetry's own data have.
        seed: Of torch's random numbers while the sampler draws; they go on afterwards as if it had not.

    Returns:
        The symmetry on the smaller batch, its error yet to be measured there (`measured`).

    Raises:
        TypeError: If the symmetry depends on no data.
        ValueError: If there are too many points, or too few to append, or they are of another sort.

    References:
        Dissertation, Prop. 6.4.4. Differs: the points are fixed, without which a' is no action.
    """
    if not isinstance(symmetry, DiscoveredSymmetry) or symmetry.data is None:
        raise TypeError(
            f"restrict: takes a data-dependent symmetry; got {type(symmetry).__name__} without data; "
            "an exact one holds for every batch as it is."
        )
    if size is None:
        own = symmetry.data() if callable(symmetry.data) else symmetry.data
        size = _count(own, "restrict: the symmetry's data")
    if not is_whole(size, 1):
        raise ValueError(
            f"restrict: size must be a positive integer; got {size!r}; pass the number of points, d."
        )
    points = _count(data, "restrict: data")
    # All that any smaller batch will need, so that every one of them gets the same.
    chosen = filler
    if callable(filler):
        with seeded(seed):
            chosen = filler(size - 1)
    field = RestrictedField(symmetry.field, chosen, size)
    if points < size and (got := _count(chosen, "restrict: filler")) < size - points:
        raise ValueError(
            f"restrict: there must be {size - points} points to append to {points}, for {size}; got {got}; "
            "give more, or a sampler."
        )
    field.filled(data)
    return DiscoveredSymmetry(
        group=symmetry.group,
        field=field,
        names=symmetry.names,
        given=symmetry.given,
        data=data,
        steps=symmetry.steps,
        family=symmetry.family,
        exact=symmetry.exact,
    )


def _count(data: Any, what: str) -> int:
    counts = {len(t) if isinstance(t, Tensor) and t.dim() else None for t in tree_leaves(data)}
    count = next(iter(counts)) if len(counts) == 1 else None
    if count is None:
        raise ValueError(
            f"{what} must be tensors with the points along their first axis, as many in each; "
            f"got lengths {sorted(map(str, counts))}; stack the points."
        )
    return count


def _joined(x: Tensor, more: Tensor) -> Tensor:
    if x.shape[1:] != more.shape[1:]:
        raise ValueError(
            f"restrict: filler points must have the shape of those of the data; got {tuple(more.shape[1:])} for "
            f"{tuple(x.shape[1:])}; give points of the same sort."
        )
    return torch.cat([x, more.to(x)])
