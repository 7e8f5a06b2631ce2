"""The frame action: a group action of GL(h) for every batch up to the width."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.dependent._activation import Activation
from isoloss.dependent._factor import Factor
from isoloss.dependent._frame import Complement
from isoloss.dependent.actions._action import multiply
from isoloss.dependent.actions._difference import restored


@dataclass(frozen=True)
class Frame:
    r"""Moves V by g and U by the quotient of two frames.

    .. math:: V' = g V, \qquad U' = U R(S) R(S')^{-1} = U S S'^+ + (U C) C'^T, \qquad R(S) = [S \mid C]

    C is the orthonormal complement of S nearest to a fixed one. Because the quotients telescope, this is a group
    action wherever the activations have full column rank. Where they have not (more samples than units, a unit that
    comes to life) it does what `Difference` does.

    Attributes:
        cutoff: Singular values up to this fraction of the largest count as zero; see `Factor`.

    References:
        docs/dependent.md; Lemma A.3.6 of the dissertation, which leaves the construction open.
    """

    cutoff: float | None = None

    name: ClassVar[str] = "frame"
    absorbs_bias: ClassVar[bool] = True

    def capacity(self, inputs: int, units: int) -> int:
        """See `DependentAction`."""
        return units

    def incoming(self, g: Tensor, v: Tensor, z: Tensor, x: Tensor, activation: Activation | None) -> Tensor:
        """See `DependentAction`."""
        return multiply(g, v)

    def outgoing(self, g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
        """See `DependentAction`."""
        before, after = Factor.of(s, self.cutoff), Factor.of(moved, self.cutoff)
        if not before.rank == after.rank == s.shape[1]:
            return restored(u, s, moved, self.cutoff)
        wide = u.to(after.left)
        seen = after.right_divide(wide @ s.to(wide))
        unseen = Complement.of(after).reflect(Complement.of(before).coordinates(wide))
        return (seen + unseen).to(u)
