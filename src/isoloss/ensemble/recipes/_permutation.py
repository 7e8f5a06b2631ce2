"""The fourth baseline: a step on the straight line from the identity to a permutation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.dependent import DependentAction
from isoloss.ensemble._draw import Draw
from isoloss.ensemble.recipes._inverse import undone
from isoloss.ensemble.recipes._recipe import Reading


@dataclass(frozen=True)
class InterpolatedPermutation:
    r"""'perm_interp': :math:`(U, V) \mapsto (U p^{-1},\; p V)`, S a random permutation matrix,

    .. math:: p = \frac{1 + \frac{\varepsilon}{2}(1 + S)}{1 + \varepsilon}

    The identity at 0, :math:`\tfrac12 (1 + S)` at infinity; never singular, as
    :math:`1 + \varepsilon/2 > \varepsilon/2`.

    References:
        Dissertation, section 2.9.
    """

    name: ClassVar[str] = "perm_interp"

    def element(self, width: int, draw: Draw) -> Tensor:
        """See `Recipe`."""
        eye = torch.eye(width, dtype=torch.float64)
        half = draw.epsilon / 2
        return (eye + half * (eye + eye[draw.order(width)])) / (1 + draw.epsilon)

    def rule(self, draw: Draw) -> DependentAction:
        """See `Recipe`."""
        return Reading(undone)
