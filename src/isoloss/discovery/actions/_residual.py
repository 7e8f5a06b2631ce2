"""The linear action, and what a perceptron adds to it."""

import torch
from torch import Tensor, nn

from isoloss.discovery.actions._action import applied
from isoloss.discovery.actions._anchored import Anchored


class Residual(Anchored):
    r""":math:`a_X(g, \theta) = g\, \theta + N(g, \theta, X) - N(I, \theta, X)`: ours.

    What acts linearly is found in the generators, fast; the perceptron, silent at first, learns what depends on the
    data or bends. The identity moves nothing by construction.

    Args:
        params: p.
        data: q.
        width: Of the hidden layers.
        depth: Number of linear layers.
        reads_data: Whether the data are an input.
    """

    def __init__(self, params: int, data: int, width: int = 128, depth: int = 4, reads_data: bool = True):
        super().__init__(params, data, width, depth, reads_data)
        last = self.rest[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        return super().forward(g, theta, x) - theta + applied(g, theta)

    def directions(self, h: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        return torch.einsum("kij,nj->nki", h, theta) + self.along(h, theta, x)
