"""Action 2 by differences: the nearest weights that read the moved units as before."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent._activation import Activation
from isoloss.dependent._factor import right_divide
from isoloss.dependent.actions._action import multiply


@dataclass(frozen=True)
class Difference:
    r"""Moves V by g, and U by the smallest change that restores the outputs of the batch.

    .. math:: V' = g V, \qquad U' = U + (U S - U S') S'^+ = \operatorname{argmin}_{U' S' = U S} \lVert U' - U \rVert_F

    The identity moves nothing, on the batch or off it. With more samples than units it is a least-squares fit, the
    same as action 2. It is a group action up to second order only; `Frame` is one exactly.

    Attributes:
        cutoff: Singular values of S' up to this fraction of the largest count as zero; see `Factor`.

    References:
        docs/dependent.md; compare Eq. (4.16) of the dissertation.
    """

    cutoff: float | None = None

    name: ClassVar[str] = "difference"
    absorbs_bias: ClassVar[bool] = True

    def capacity(self, inputs: int, units: int) -> int:
        """See `DependentAction`; the outputs stay, the group law holds to second order."""
        return units

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`."""
        return multiply(g, v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`."""
        return restored(u, s, moved, self.cutoff)


def restored(u: Tensor, s: Tensor, moved: Tensor, cutoff: float | None) -> Tensor:
    """The matrix nearest to u whose product with the moved columns is u s, as far as their rank goes."""
    wide = u.double()
    return (wide + right_divide(wide @ (s.double() - moved.double()), moved, cutoff)).to(u)
