"""Curves in parameter space, of equal length for all samples at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from isoloss.discovery._flow import trajectory

SUBSTEPS = 2
"""Runge-Kutta steps between two points."""
TINY = 1e-12


def flow_curve(velocity: Callable[[Tensor], Tensor], start: Tensor, length: float, points: int) -> Tensor:
    """Integral curves of a vector field at constant speed; see `flow`.

    Args:
        velocity: From (n, p) to (n, p).
        start: (n, p).
        length: Of each curve.
        points: On each, its start among them.

    Returns:
        (points, n, p).
    """

    def unit(theta: Tensor) -> Tensor:
        v = velocity(theta)
        return v / v.norm(dim=1, keepdim=True).clamp_min(TINY)

    field = lambda w: {"theta": length * unit(w["theta"])}  # noqa: E731 (runs for unit time)
    return trajectory(field, {"theta": start}, (points - 1) * SUBSTEPS)["theta"][::SUBSTEPS]


def map_curve(
    at: Callable[[float], Tensor], start: Tensor, length: float, points: int, finest: int = 400
) -> Tensor:
    """A family of maps followed from time 0 until each curve has its length.

    Args:
        at: From the time to the moved parameters, (n, p).
        start: (n, p); where the curve at time 0 does not start there, the jump counts as a part of it.
        length: Of each curve; those that are shorter at the last time end there.
        points: On each, evenly spaced along it.
        finest: Times at which the curve is looked at; time runs until all have their length, at most to 4.

    Returns:
        (points, n, p).
    """
    seen = torch.stack([start, *(at(4.0 * i / finest) for i in range(finest + 1))])
    pieces = (seen[1:] - seen[:-1]).norm(dim=-1)
    passed = pad(pieces.cumsum(0), (0, 0, 1, 0))
    found = []
    for i in range(points):
        wanted = torch.minimum(passed[-1], torch.full_like(passed[-1], length * i / (points - 1)))
        upper = (
            torch.searchsorted(passed.mT.contiguous(), wanted[:, None]).squeeze(1).clamp(1, len(passed) - 1)
        )
        samples = torch.arange(len(start))
        low, high = passed[upper - 1, samples], passed[upper, samples]
        share = ((wanted - low) / (high - low).clamp_min(TINY))[:, None].clamp(0, 1)
        found.append((1 - share) * seen[upper - 1, samples] + share * seen[upper, samples])
    return torch.stack(found)
