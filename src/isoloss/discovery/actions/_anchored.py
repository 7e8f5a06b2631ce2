"""What a perceptron of the group element adds to the parameters, beyond what it adds for the identity."""

from typing import ClassVar

import torch
from torch import Tensor

from isoloss.discovery.actions._mlp import MLP


class Anchored(MLP):
    r""":math:`a_X(g, \theta) = \theta + N(g, \theta, X) - N(I, \theta, X)`: ours.

    The identity moves nothing by construction, which also makes Theorem 6.3.2 hold, so that training has neither to
    learn nor to weigh them.

    Args:
        params: p.
        data: q.
        width: Of the hidden layers.
        depth: Number of linear layers.
        reads_data: Whether the data are an input.
    """

    anchored: ClassVar[bool] = True

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        one = torch.eye(self.size, dtype=g.dtype, device=g.device)
        return theta + self.network(g, theta, x) - self.network(one, theta, x)
