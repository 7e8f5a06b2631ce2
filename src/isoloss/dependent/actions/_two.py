"""Action 2 of the papers, as published."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent._activation import Activation
from isoloss.dependent._factor import right_divide
from isoloss.dependent.actions._action import multiply


@dataclass(frozen=True)
class Two:
    r"""Moves V by g, and replaces U by the smallest matrix that restores the outputs of the batch.

    .. math:: V' = g V, \qquad U' = U S S'^+

    With fewer samples than units the identity is none: it projects U onto what the batch sees, and what the network
    computes off the batch is lost. Here to compare with; `Difference` is the repaired form.

    Attributes:
        cutoff: Singular values of S' up to this fraction of the largest count as zero; see `Factor`.

    References:
        Dissertation, Eqs. (4.16) and (3.6).
    """

    cutoff: float | None = None

    name: ClassVar[str] = "action-2"
    absorbs_bias: ClassVar[bool] = True

    def capacity(self, inputs: int, units: int) -> int:
        """See `DependentAction`; the identity axiom fails below `units` samples."""
        return units

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`."""
        return multiply(g, v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`."""
        return right_divide(u.double() @ s.double(), moved, self.cutoff).to(u)
