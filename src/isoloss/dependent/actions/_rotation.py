"""The R_z action: a group action of GL(h) for one sample."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent._activation import Activation
from isoloss.dependent._rotation import rotation
from isoloss.dependent.actions._action import multiply


@dataclass(frozen=True)
class Rotation:
    r"""Moves V by g and U by a quotient of rotations, and of lengths, for a single sample x.

    .. math:: V' = g V, \qquad U' = U R_{\sigma(Vx)} R_{\sigma(gVx)}^{-1}, \qquad R_z^{-1} = R_z^T / |z|^2

    The bias of the reading layer stays, as in the dissertation; that of the other layer moves with V.

    References:
        Dissertation, Theorem 2.4.1 and its algorithm, Theorem A.3.4; Proposition A.3.5 for deep networks.
    """

    name: ClassVar[str] = "rotation"
    absorbs_bias: ClassVar[bool] = False

    def capacity(self, inputs: int, units: int) -> int:
        """See `DependentAction`."""
        return 1

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`."""
        return multiply(g, v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`.

        Raises:
            ValueError: If there is more than one sample, or all activations of one are zero.
        """
        if s.shape[1] != 1:
            raise ValueError(
                f"Rotation: the R_z action is for one sample; got {s.shape[1]} columns; "
                "choose Frame() or Difference() for batches."
            )
        before, after = rotation(s[:, 0].double()), rotation(moved[:, 0].double())
        squared = moved[:, 0].double().square().sum()
        return ((u.double() @ before) @ after.mT / squared).to(u)
