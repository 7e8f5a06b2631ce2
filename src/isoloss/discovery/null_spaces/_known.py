"""Generators of symmetries that are known, as matrices like those that are found from the loss alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from isoloss.discovery._space import Space
from isoloss.finding._complement import SMALL, cut
from isoloss.finding._tangents import Columns, basis, velocities
from isoloss.symmetry import Symmetry


def known_generators(symmetries: Iterable[Symmetry], parameters: Space) -> Tensor:
    r"""The matrices h of the velocities :math:`v = h\,(\theta, 1)` of known symmetries.

    The velocity of an algebra element is an affine function of the parameters for all linear actions, and for
    translations that pass through a weight. Its values at the origin and at the unit vectors are the columns of h;
    a random point says whether it is affine at all.

    Args:
        symmetries: Continuous exact ones count.
        parameters: The order of the coordinates, by name.

    Returns:
        (m, p, p + 1), one for each element of a basis of each algebra; not orthonormal.

    Raises:
        ValueError: If one moves what is not among the parameters, or is not affine in them.
    """
    p = parameters.size
    eye = torch.eye(p, dtype=torch.float64)
    random = torch.randn(p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = [_named(parameters, t) for t in (torch.zeros_like(random), *eye, random)]
    found = [torch.zeros(0, p, p + 1, dtype=torch.float64)]
    for symmetry in symmetries:
        if not symmetry.dim or not symmetry.exact:
            continue
        if missing := [n for n in (*symmetry.parameters, *symmetry.reads) if n not in parameters.names]:
            raise ValueError(
                f"known_generators: symmetries must move the parameters that are sampled; got {symmetry.name}, which "
                f"needs {missing[0]}, beside {', '.join(parameters.names)}; sample it as well, or leave this one out."
            )
        columns = Columns(points[0])
        for a in basis(symmetry, columns.count):
            zero, *units, there = [velocities(symmetry, a, point, columns) for point in points]
            h = torch.stack([*(u - zero for u in units), zero], 2)
            value = h[..., :-1] @ random + h[..., -1]
            if not bool((value - there).norm() <= SMALL * there.norm()):
                raise ValueError(
                    f"known_generators: the velocity must be affine in the parameters; got {symmetry.name} on "
                    f"{', '.join(symmetry.parameters[:3])}, which is not; leave it out."
                )
            found.append(h)
    return torch.cat(found)


def across_known(generators: Tensor, known: Tensor) -> Tensor:
    """An orthonormal basis of the part of a span of generators that is orthogonal to the known ones inside it.

    Args:
        generators: Orthonormal, (k, p, q), with q = p or p + 1.
        known: (m, p, p + 1), any that span.

    Returns:
        (k - those that are known, p, q).
    """
    k, p, q = generators.shape
    whole = torch.nn.functional.pad(generators, (0, p + 1 - q)).flatten(1)
    _, size, span = torch.linalg.svd(known.flatten(1), full_matrices=False)
    span = span[: cut(size / size[:1])] if len(size) else span
    # What lies in both: mixtures of the generators whose distance from the known span is zero.
    outside = whole - (whole @ span.T) @ span
    mixtures, distance, _ = torch.linalg.svd(outside, full_matrices=False)
    return torch.einsum("kj,kpq->jpq", mixtures[:, : cut(distance.clamp_max(1.0))], generators)


def _named(parameters: Space, theta: Tensor) -> dict[str, Tensor]:
    sizes = [torch.Size(s).numel() for s in parameters.shapes]
    parts = theta.split(sizes)
    return {n: part.reshape(s) for n, part, s in zip(parameters.names, parts, parameters.shapes, strict=True)}
