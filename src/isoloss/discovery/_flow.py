"""The flow of a vector field on named parameters, by the classical method of Runge and Kutta."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Field = Callable[[dict[str, Tensor]], Tensors]


def flow(field: Field, start: Tensors, steps: int) -> dict[str, Tensor]:
    r"""Where the flow of a vector field leads in unit time.

    .. math:: \dot w = v(w), \quad w(0) = w_0 \;\mapsto\; w(1)

    The steps are equal, so that the result is a smooth function of the start and of whatever the field depends on; it
    runs under `torch.func`. With h = 1 / steps the error is O(h^4). Under the flow of -v the leading errors of the way
    back cancel those of the way there: what comes back is the start up to O(h^5).

    Args:
        field: v, from named tensors to velocities of the same names and shapes.
        start: :math:`w_0`.
        steps: Their number.

    References:
        Dissertation, section 6.5.4, which exponentiates h instead: that is this flow where the action is linear.
    """
    w = dict(start)
    for _ in range(steps):
        w = _step(field, w, 1.0 / steps)
    return w


def trajectory(field: Field, start: Tensors, steps: int) -> dict[str, Tensor]:
    """The points of the same flow at the times 0, 1 / steps, ..., 1: a new first axis of length steps + 1."""
    points = [dict(start)]
    for _ in range(steps):
        points.append(_step(field, points[-1], 1.0 / steps))
    return {n: torch.stack([w[n] for w in points]) for n in start}


def _step(field: Field, w: dict[str, Tensor], h: float) -> dict[str, Tensor]:
    k1 = field(w)
    k2 = field(_plus(w, h / 2, k1))
    k3 = field(_plus(w, h / 2, k2))
    k4 = field(_plus(w, h, k3))
    return {n: x + (h / 6) * (k1[n] + 2 * k2[n] + 2 * k3[n] + k4[n]) for n, x in w.items()}


def _plus(w: dict[str, Tensor], t: float, v: Tensors) -> dict[str, Tensor]:
    return {n: x + t * v[n] for n, x in w.items()}
