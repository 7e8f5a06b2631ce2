"""A loss of one sample, on batches of vectors: values, and slopes along directions by forward differentiation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from isoloss.discovery._space import Space

Loss = Callable[[Any, Any], Tensor]
"""From parameters and data of one sample (trees without the sample axis) to a number, or one for each data point."""

SLOPED = 0.1
"""Least part of the samples at which the loss must have a slope: the others say nothing of invariance."""

PROBES = 8
"""Up to so many data points the size of a Jacobian is exact; beyond, told by so many random sums of losses."""


class Losses:
    """The losses of n samples at once.

    Args:
        loss: Of one sample: a scalar, or (d,) for d data points.
        params: Of the parameters.
        data: Of the data.
        where: Who asks, for messages.
    """

    def __init__(self, loss: Loss, params: Space, data: Space, where: str = "discover"):
        self.loss, self.params, self.data, self.where = loss, params, data, where

    def __call__(self, theta: Tensor, x: Tensor) -> Tensor:
        """The losses, (n, d), of parameters (n, p) and data (n, q).

        Raises:
            ValueError: If the loss is neither a scalar nor a vector of one number for each data point.
        """
        return vmap(self.one)(theta, x)

    def slopes(self, theta: Tensor, x: Tensor, directions: Tensor) -> Tensor:
        r"""Derivatives along directions, :math:`D_\theta L\, v`.

        Args:
            theta: (n, p).
            x: (n, q).
            directions: (n, k, p).

        Returns:
            (n, k, d). No Jacobian is formed: one forward derivative for each direction.
        """
        along = vmap(lambda v: jvp(lambda t: self(t, x), (theta,), (v,))[1], in_dims=1)
        return along(directions).movedim(0, 1)  # out_dims=1 fails where the loss does not depend on theta

    @torch.no_grad()
    def scale(self, theta: Tensor, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Mean square of the slope along a random unit vector, :math:`\|D_\theta L\|_F^2 / (d\,p)`, (n,).

        Exact for up to `PROBES` data points. For more it is estimated, without bias, by as many sums of losses with
        random signs; a quotient by it is then larger than the true one on average, by some percent.
        """
        found = vjp(lambda t: self(t, x), theta)
        values, pull = found[0], found[1]
        n, d = values.shape
        if d <= PROBES:
            probes = d**0.5 * torch.eye(d).to(values)[:, None].expand(d, n, d)
        else:
            probes = torch.randint(2, (PROBES, n, d), generator=generator).to(values) * 2 - 1
        pulled = vmap(lambda s: pull(s)[0])(probes)
        return pulled.square().sum(-1).mean(0) / (d * theta.shape[1])

    def one(self, theta: Tensor, x: Tensor) -> Tensor:
        """The losses of one sample, (d,), of parameters (p,) and data (q,).

        Raises:
            ValueError: If they are neither a number nor a vector of them.
        """
        value = self.loss(self.params.tree(theta), self.data.tree(x))
        is_tensor = isinstance(value, Tensor)
        if not is_tensor or value.dim() > 1 or not value.is_floating_point() or not value.numel():
            shape = f"{tuple(value.shape)} of {value.dtype}" if is_tensor else type(value).__name__
            raise ValueError(
                f"{self.where}: the loss of one sample must be a number, or one for each data point, (d,); got "
                f"{shape}; sum over the outputs, not over the samples: they come one at a time."
            )
        return value.reshape(-1)
