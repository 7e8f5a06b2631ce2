"""What lies between two layers, as a map from the rows of one to the columns of the next, with its derivatives."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from isoloss.dependent._activation import Activation


class Link(Protocol):
    """A map x = f(z), differentiable twice; `value` first, then `pull`, then the others.

    Columns that a link returns from `value` end in the row of ones that a bias needs; tangents and cotangents do not.
    """

    def value(self, z: Tensor) -> Tensor:
        """The columns at z, where all derivatives are then taken."""
        ...

    def pull(self, cotangent: Tensor) -> Tensor:
        r"""The cotangent of z, :math:`Df^T \bar x`, of the last `value`; `bend` refers to this cotangent."""
        ...

    def pull_more(self, cotangent: Tensor) -> Tensor:
        """The same for another cotangent."""
        ...

    def push(self, tangent: Tensor) -> Tensor:
        r"""The tangent of x, :math:`Df \dot z`."""
        ...

    def bend(self, tangent: Tensor) -> Tensor | None:
        r"""The derivative of :math:`Df^T \bar x` along a tangent of z, for the cotangent last pulled."""
        ...


class Pointwise:
    """An activation between two linear layers.

    Args:
        activation: The function.
        biased: Do the columns end in a one?
    """

    def __init__(self, activation: Activation, biased: bool):
        self._activation, self._biased = activation, biased
        self._z = self._slope = self._pulled = torch.empty(0)

    def value(self, z: Tensor) -> Tensor:
        """See `Link`."""
        self._z, self._slope = z, self._activation.slope(z)
        x = self._activation.value(z)
        return torch.cat([x, x.new_ones(1, x.shape[1])]) if self._biased else x

    def pull(self, cotangent: Tensor) -> Tensor:
        """See `Link`."""
        self._pulled = cotangent
        return self._slope * cotangent

    def pull_more(self, cotangent: Tensor) -> Tensor:
        """See `Link`."""
        return self._slope * cotangent

    def push(self, tangent: Tensor) -> Tensor:
        """See `Link`."""
        return self._slope * tangent

    def bend(self, tangent: Tensor) -> Tensor | None:
        """See `Link`."""
        curvature = self._activation.curvature
        return None if curvature is None else curvature(self._z) * tangent * self._pulled


class Measured:
    """Anything without parameters, such as an activation, pooling and unfolding, differentiated by autograd.

    Args:
        function: The map from rows to columns.
        biased: Do the columns end in a one?
    """

    def __init__(self, function: Callable[[Tensor], Tensor], biased: bool):
        self._function, self._biased = function, biased
        self._z = self._x = self._cotangent = self._pulled = torch.empty(0)

    @torch.enable_grad()
    def value(self, z: Tensor) -> Tensor:
        """See `Link`."""
        self._z = z.detach().requires_grad_()
        self._x = self._function(self._z)
        x = self._x.detach()
        return x

    @torch.enable_grad()
    def pull(self, cotangent: Tensor) -> Tensor:
        """See `Link`."""
        self._cotangent = cotangent.detach().requires_grad_()
        (self._pulled,) = torch.autograd.grad(
            self._x, self._z, self._full(self._cotangent), create_graph=True
        )
        return self._pulled.detach()

    def pull_more(self, cotangent: Tensor) -> Tensor:
        """See `Link`."""
        return torch.autograd.grad(self._x, self._z, self._full(cotangent), retain_graph=True)[0]

    def push(self, tangent: Tensor) -> Tensor:
        """See `Link`."""
        # The pull is linear in its cotangent; its own pull is the push.
        return torch.autograd.grad(self._pulled, self._cotangent, tangent, retain_graph=True)[0]

    def bend(self, tangent: Tensor) -> Tensor | None:
        """See `Link`."""
        found = torch.autograd.grad(
            self._pulled, self._z, tangent, retain_graph=True, allow_unused=True, materialize_grads=False
        )[0]
        return found

    def _full(self, cotangent: Tensor) -> Tensor:
        return pad(cotangent, (0, 0, 0, 1)) if self._biased else cotangent
