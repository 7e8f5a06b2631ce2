"""Counting the connected components of a set of minima from samples of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import vmap

from isoloss.connect.minima._level import Residual, _chords

# Pairs tried at once: fewer are wasted on what is connected already, more use the machine better.
PAIRS = 64


@dataclass(frozen=True)
class Components:
    """How many components the sampled points of a set lie in.

    Attributes:
        count: Classes of points that the paths that were found connect: at least as many as there are components that
            have a sample.
        separated: Values of the invariant that occur: no more than there are components. None without one.
        labels: Class of every point, shape (N,).
        connections: Which pairs a path was found for, boolean, shape (N, N).
    """

    count: int
    separated: int | None
    labels: Tensor = field(repr=False)
    connections: Tensor = field(repr=False)

    @property
    def certain(self) -> bool:
        """Do both counts agree? Then every sampled component was told apart, and no more."""
        return self.separated == self.count


def components(
    residual: Residual,
    points: Tensor,
    *,
    invariant: Callable[[Tensor], Tensor] | None = None,
    joined: Callable[[Tensor, Tensor], Tensor] | None = None,
    n: int = 33,
) -> Components:
    """Count the components of the set where a function vanishes, as far as samples of it tell.

    Two points are connected if a path on the set is found near their chord (`level_path`), or if `joined` knows one;
    what is connected to the same point is connected. Pairs that are not connected already are tried, the
    nearest first, until there are no more classes than the invariant separates.

    Args:
        residual: A vector of shape (d,) to one of shape (r,); the set is where it is zero.
        points: Points of the set, shape (N, d), from every component: their number is the caller's affair.
        invariant: What cannot change along a path on the set, such as signs of determinants: (N, d) to (N, k).
        joined: Pairs of points, (P, d) and (P, d), to booleans (P,): paths that are known, such as orbits.
        n: As in `level_path`.

    Raises:
        ValueError: If a point is not on the set, or a path was found between points that the invariant separates.
    """
    where = "components"
    if points.dim() != 2 or not len(points):
        raise ValueError(f"{where}: points must have shape (N, d); got {tuple(points.shape)}; stack them.")
    sizes = torch.linalg.vector_norm(vmap(residual)(points), dim=-1)
    if not bool((sizes <= 1e-6).all()):
        raise ValueError(
            f"{where}: points must lie on the set; got a residual of {float(sizes.max()):.2g}; "
            "bring them there: project(residual, points)."
        )
    labels = None if invariant is None else invariant(points).reshape(len(points), -1)
    i, j = torch.triu_indices(len(points), len(points), 1)
    linked = torch.eye(len(points), dtype=torch.bool)
    if joined is not None and len(i):
        known = joined(points[i], points[j])
        linked[i, j], linked[j, i] = known, known
    # Near pairs first: once they are connected, most others are.
    order = torch.linalg.vector_norm(points[i] - points[j], dim=-1).argsort()
    for part in order.split(PAIRS):
        classes = classes_of(linked)
        if labels is not None and int(classes.max()) + 1 <= len(labels.unique(dim=0)):
            break  # no path can join what the invariant separates
        part = part[classes[i[part]] != classes[j[part]]]
        if not len(part):
            continue
        found = _chords(residual, points[i[part]], points[j[part]], n)[1]
        linked[i[part], j[part]] |= found
        linked[j[part], i[part]] |= found
    classes = classes_of(linked)
    separated = None
    if labels is not None:
        separated = len(labels.unique(dim=0))
        same = (labels.unsqueeze(0) == labels.unsqueeze(1)).all(-1)
        if bool((linked & ~same).any()):
            raise ValueError(
                f"{where}: an invariant must not change along a path on the set; got a path between points where it "
                "differs; raise n, if the path jumps, or correct the invariant."
            )
    return Components(int(classes.max()) + 1, separated, classes, linked)


def classes_of(linked: Tensor) -> Tensor:
    """The classes of a symmetric relation, numbered in order of appearance, shape (N,)."""
    label = torch.arange(len(linked))
    while True:
        new = torch.where(linked, label.unsqueeze(0), len(linked)).amin(1)
        if bool((new == label).all()):
            return label.unique(return_inverse=True)[1]
        label = new
