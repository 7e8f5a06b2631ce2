"""Curves in parameter space, of equal length for all samples at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

SUBSTEPS = 2
"""Runge-Kutta steps between two points."""
TINY = 1e-12


def flow_curve(velocity: Callable[[Tensor], Tensor], start: Tensor, length: float, points: int) -> Tensor:
    """Integral curves of a vector field at unit speed, by the classical Runge-Kutta method of order 4.

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

    step = length / ((points - 1) * SUBSTEPS)
    found, theta = [start], start
    for _ in range(points - 1):
        for _ in range(SUBSTEPS):
            a = unit(theta)
            b = unit(theta + 0.5 * step * a)
            c = unit(theta + 0.5 * step * b)
            d = unit(theta + step * c)
            theta = theta + step / 6 * (a + 2 * b + 2 * c + d)
        found.append(theta)
    return torch.stack(found)


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
