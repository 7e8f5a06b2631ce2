"""A multilayer perceptron of the group element, the parameters and the data."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss.discovery.actions._action import Action


class Swish(nn.Module):
    """z sigmoid(z), written out: torch (2.13) does not differentiate its own twice forward."""

    def forward(self, z: Tensor) -> Tensor:
        """Elementwise."""
        return z * torch.sigmoid(z)


class MLP(Action):
    r""":math:`a_X(g, \theta) = N(g, \theta, X)`, a perceptron that learns even that the identity moves nothing.

    Args:
        params: p.
        data: q.
        width: Of the hidden layers.
        depth: Number of linear layers.
        reads_data: Whether the data are an input. Without them the symmetry found is one on all data.

    Raises:
        ValueError: If width or depth is no whole number, or too small.

    References:
        Dissertation, section 6.5.3: four layers, hidden dimensions 128, 128, 128. The activation is not told; ours,
        z sigmoid(z), has derivatives, which the objective is made of.
    """

    anchored: ClassVar[bool] = False

    def __init__(self, params: int, data: int, width: int = 128, depth: int = 4, reads_data: bool = True):
        super().__init__(params, data)
        if not is_whole(width, least=1) or not is_whole(depth, least=2):
            raise ValueError(
                f"{type(self).__name__}: width must be a whole number of at least 1 and depth of at least 2; got "
                f"{width!r} and {depth!r}."
            )
        self.width, self.depth, self.reads_data = int(width), int(depth), bool(reads_data)
        # One layer in two blocks: the group element, m^2 numbers, is the same for all samples.
        seen = self.params + (data if self.reads_data else 0)
        self.of_element = nn.Parameter(torch.randn(self.width, self.size**2))
        self.of_sample = nn.Parameter(torch.randn(self.width, seen) / seen**0.5)
        self.bias = nn.Parameter(torch.zeros(self.width))
        layers: list[nn.Module] = []
        for _ in range(self.depth - 2):
            layers += [Swish(), nn.Linear(self.width, self.width)]
        self.rest = nn.Sequential(*layers, Swish(), nn.Linear(self.width, self.params))
        for layer in self.rest:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`."""
        return self.network(g, theta, x)

    def network(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """N(g, theta, X), (n, p)."""
        sample = torch.cat([theta, x], -1) if self.reads_data else theta
        one = torch.eye(self.size, dtype=g.dtype, device=g.device)
        return self.rest(sample @ self.of_sample.mT + (g - one).flatten(-2) @ self.of_element.mT + self.bias)

    def directions(self, h: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """See `Action`; what does not depend on g drops out."""
        return self.along(h, theta, x)

    def along(self, h: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """Derivatives of N at the identity along algebra elements, (n, k, p)."""
        # Forward differentiation, layer by layer: torch.func does the same in more, smaller steps.
        sample = torch.cat([theta, x], -1) if self.reads_data else theta
        z, t = sample @ self.of_sample.mT + self.bias, (h.flatten(-2) @ self.of_element.mT)[None]
        for layer in self.rest:
            if isinstance(layer, nn.Linear):
                z, t = layer(z), t @ layer.weight.mT
            else:
                s = torch.sigmoid(z)
                z, t = z * s, (s + z * s * (1 - s))[:, None] * t
        return t

    @property
    def options(self) -> dict[str, Any]:
        """See `Action`."""
        return {"width": self.width, "depth": self.depth, "reads_data": self.reads_data}
