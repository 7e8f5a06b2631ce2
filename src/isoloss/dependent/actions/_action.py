"""What a data-dependent action is: a rule for the weights into the hidden units and one for those out of them."""

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from isoloss.dependent._activation import Activation


@runtime_checkable
class DependentAction(Protocol):
    """How an element of GL(h) moves two adjacent layers, so that a batch is computed as before.

    A new action is one file here and one line in `ACTIONS`.

    Attributes:
        name: Its name in `ACTIONS`.
        absorbs_bias: Does the bias of the reading layer count as a weight on a constant unit, and move?
    """

    name: ClassVar[str]
    absorbs_bias: ClassVar[bool]

    def capacity(self, inputs: int, units: int) -> int:
        """Largest batch on which it is a group action that leaves the outputs unchanged, at full rank.

        Args:
            inputs: Rows of X, the ones of a bias included.
            units: Rows of S, the ones of a bias included if they are absorbed.
        """
        ...

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """The matrix V' of the layer that computes the units.

        Args:
            g: Element, shape (h, h).
            v: V, shape (h, n).
            z: The pre-activations that the batch should have if g is the identity, shape (h, k).
            x: The inputs of the layer in the moved network, shape (n, k).
            activation: What follows the layer, if it is known.
        """
        ...

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """The matrix U' of the layer that reads the units.

        Args:
            g: Element, shape (h, h).
            u: U, shape (o, H).
            s: Inputs of the layer before the move, shape (H, k).
            moved: Its inputs in the moved network, shape (H, k).
        """
        ...


def multiply(g: Tensor, v: Tensor) -> Tensor:
    """The product g V in the wider of the two dtypes, returned in that of V."""
    wide = torch.promote_types(g.dtype, v.dtype)
    return (g.to(wide) @ v.to(wide)).to(v)
