"""Anderson's extrapolation of a fixed-point iteration."""

from collections import deque

import torch
from torch import Tensor


class Anderson:
    r"""Extrapolates :math:`x \leftarrow G(x)` from its last steps.

    .. math:: x^+ = G(x_k) - \sum_i \gamma_i \, \Delta G_i, \qquad
        \gamma = \operatorname{argmin} \lVert r_k - \sum_i \gamma_i \Delta r_i \rVert, \quad r = G(x) - x

    On a linear map it is GMRES: slow modes (the scales of whole layers, which diffuse along the depth of a network)
    go as fast as the others.

    Args:
        memory: Number of differences that are kept.

    References:
        Walker and Ni (2011), Anderson acceleration for fixed-point iterations.
    """

    def __init__(self, memory: int = 8):
        self._steps: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory + 1)

    def forget(self) -> None:
        """Start again, where an extrapolation has led astray."""
        self._steps.clear()

    def next(self, x: Tensor, image: Tensor) -> Tensor:
        """The next point, from a point and its image under G."""
        self._steps.append((image - x, image))
        if len(self._steps) < 2:
            return image
        residuals, images = (
            torch.stack(list(column), dim=1).double() for column in zip(*self._steps, strict=True)
        )
        differences = residuals.diff(dim=1)
        # Normal equations with a small ridge: the differences of an iteration that converges are nearly dependent.
        gram = differences.mT @ differences
        gram.diagonal().mul_(1 + 1e-10)
        weights, bad = torch.linalg.solve_ex(gram, differences.mT @ residuals[:, -1])
        found = images[:, -1] - images.diff(dim=1) @ weights
        return found.to(x) if not bad and bool(found.isfinite().all()) else image
