"""The direction in which all hidden units grow."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import GeneralLinear, PositiveScaling
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


class Scale:
    r"""All units grow alike: the identity matrix, or ones; exp(c a) multiplies what enters the units by e^c.

    .. math:: a = 1

    What reads the units shrinks by as much. Between two layers it moves learning from one to the other: after a long
    step along it, the gradient is almost all that of the weights that read the units.
    """

    name: ClassVar[str] = "scale"

    def suits(self, action: Action) -> bool:
        """Is the group GL or a scaling? A rotation makes nothing grow."""
        return isinstance(action.group, GeneralLinear | PositiveScaling)

    def __call__(
        self,
        action: Action,
        loss: Callable[[Tensors], Tensor],
        parameters: Tensors,
        data: Tensors,
        gradient: Tensors,
    ) -> Tensor:
        """See `Direction`; only the dtype of the weights is read."""
        first = parameters[action.parameters[0]]
        n = action.group.n
        if isinstance(action.group, PositiveScaling):
            one = torch.ones(n, dtype=first.dtype, device=first.device)
        else:
            one = torch.eye(n, dtype=first.dtype, device=first.device)
        return one.expand(*action.batch, *action.group.algebra_shape)
