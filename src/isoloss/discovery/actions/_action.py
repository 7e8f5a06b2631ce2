"""What maps a group element, parameters and data to parameters."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from isoloss.discovery.actions._generators import Generators


class Action(nn.Module, ABC):
    r"""A map :math:`a_X(g, \theta)` with learnable parameters, g a matrix of a linear group.

    Args:
        params: p, the number of parameters of the loss.
        data: q, the numbers that one sample of data holds.

    Attributes:
        size: m, the size of the matrices g.
        anchored: Whether the identity moves nothing, whatever is learned.
        reads_data: Whether the map depends on the data.

    References:
        Dissertation, section 6.3.1: G is a linear group.
    """

    anchored: ClassVar[bool] = True
    reads_data: bool = False

    def __init__(self, params: int, data: int):
        super().__init__()
        self.params, self.data = params, data
        self.size = params

    @abstractmethod
    def forward(self, g: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """The moved parameters.

        Args:
            g: (m, m), or one for each sample, (n, m, m).
            theta: (n, p).
            x: (n, q).

        Returns:
            (n, p).
        """

    def directions(self, h: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        r"""The infinitesimal action of algebra elements, :math:`D_g a_X|_{I, \theta}(h)`.

        Args:
            h: (k, m, m).
            theta: (n, p).
            x: (n, q).

        Returns:
            (n, k, p), one forward derivative for each h.
        """
        one = torch.eye(self.size, dtype=h.dtype, device=h.device)
        return vmap(lambda a: jvp(lambda g: self(g, theta, x), (one,), (a,))[1])(h).movedim(0, 1)

    def generators(self, count: int) -> Generators:
        """The generators to be learned; by default any matrices."""
        return Generators(count, self.size)

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with, in words of JSON, beside the sizes."""
        return {}


def applied(g: Tensor, theta: Tensor) -> Tensor:
    """g theta for every sample, for one g or one each."""
    return theta @ g.mT if g.dim() == 2 else torch.einsum("nij,nj->ni", g, theta)
