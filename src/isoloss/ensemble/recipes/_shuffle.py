"""The third baseline: the matrix of the group action, with its entries in random order."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.dependent import DependentAction
from isoloss.ensemble._draw import Draw
from isoloss.ensemble.recipes._recipe import Reading


@dataclass(frozen=True)
class Shuffle:
    r"""'shuffle': :math:`(U, V) \mapsto (U \pi'(g, H),\; g V)`, :math:`\pi'` the entries of :math:`\pi(g, H)` shuffled.

    As :math:`\varepsilon \to 0`, :math:`\pi \to 1` (for a batch that spans all units), whose shuffled entries are no
    identity: this baseline does not become the model.

    References:
        Dissertation, section 2.9. It does not say what is shuffled: we take all entries.
    """

    name: ClassVar[str] = "shuffle"

    def element(self, width: int, draw: Draw) -> Tensor:
        """See `Recipe`."""
        return draw.matrix(width)

    def rule(self, draw: Draw) -> DependentAction:
        """See `Recipe`; the order is drawn whenever it is applied."""

        def shuffled(g: Tensor, u: Tensor, s: Tensor, moved: Tensor) -> Tensor:
            pi = s @ torch.linalg.pinv(moved)
            return u @ pi.flatten()[draw.order(pi.numel()).to(pi.device)].view_as(pi)

        return Reading(shuffled)
