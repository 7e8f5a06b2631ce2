"""Action 1 of the papers: the units are transformed after the activation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.dependent._activation import Activation
from isoloss.dependent._factor import right_divide


@dataclass(frozen=True)
class One:
    r"""Moves V so that the activations of the batch become g S, and U by the inverse of g.

    .. math:: V' = V + (\sigma^{-1}(g\,\sigma(Z)) - \sigma^{-1}(\sigma(Z)))\,X^+, \qquad U' = U g^{-1}

    It needs an activation that is a bijection: LeakyReLU, or `Extended(nn.Tanh(), N)` in the place of a bounded one.
    By differences the identity moves nothing, and on one pair of layers it is a group action for every batch of
    independent inputs: :math:`V' X = \sigma^{-1}(gS)`, so the changes of two elements add up to that of their product.
    In a network with nn.Tanh or nn.Sigmoid itself that is so only while no entry of :math:`gS` leaves the range of the
    activation and no unit is saturated; else the identity still moves nothing, but other elements change the outputs.

    Attributes:
        by_differences: False for the published :math:`V' = \sigma^{-1}(g\,\sigma(VX))\,X^+`, under which the identity
            moves weights if there are fewer samples than inputs.
        cutoff: Singular values of X up to this fraction of the largest count as zero; see `Factor`.

    References:
        Dissertation, Proposition 4.4.2, Eq. (4.13). Differs: by differences.
    """

    by_differences: bool = True
    cutoff: float | None = None

    name: ClassVar[str] = "action-1"
    absorbs_bias: ClassVar[bool] = True

    def capacity(self, inputs: int, units: int) -> int:
        """See `DependentAction`: it is the layer below that must be wide."""
        return inputs

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`.

        Raises:
            ValueError: If the activation is not known, or has no inverse.
        """
        if activation is None or activation.inverse is None:
            raise ValueError(
                "One: action 1 inverts the activation; got one that is no bijection, or not known; "
                "use LeakyReLU, Tanh or Sigmoid modules, or choose Difference()."
            )
        wide = torch.promote_types(g.dtype, z.dtype)
        s = activation.value(z.to(wide))
        target = activation.inverse(g.to(wide) @ s).double()
        if not self.by_differences:
            return right_divide(target, x, self.cutoff).to(v)
        return (v.double() + right_divide(target - activation.inverse(s).double(), x, self.cutoff)).to(v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`; a unit may be read by several columns, the taps of a convolution."""
        h = g.shape[0]
        taps = u.shape[1] // h
        read = u[:, : h * taps].unflatten(1, (h, taps)).transpose(1, 2)
        read = torch.linalg.solve(g.to(torch.promote_types(g.dtype, u.dtype)), read.to(g), left=False)
        return torch.cat([read.transpose(1, 2).flatten(1).to(u), u[:, h * taps :]], 1)
