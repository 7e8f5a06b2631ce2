"""The direction in which the gradient grows: that of symmetry teleportation."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch.func import grad

from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.directions._slope import normalized, slope


class GradientNorm:
    r"""The slope of the squared gradient along the orbit, normalized.

    .. math:: a \propto +\nabla_a\, |\nabla L(\exp(a) \cdot w)|^2

    The gradient is that with respect to all weights. `group.norm` of it is 1, or 0. A step along it is one ascent step
    of ordinary teleportation. Costs a derivative of a derivative of the loss.

    References:
        2022 paper, Algorithm 1; dissertation, Algorithm 2.
    """

    name: ClassVar[str] = "gradient-norm"

    def suits(self, action: Action) -> bool:
        """Always."""
        return True

    def __call__(
        self,
        action: Action,
        loss: Callable[[Tensors], Tensor],
        parameters: Tensors,
        data: Tensors,
        gradient: Tensors,
    ) -> Tensor:
        """See `Direction`."""
        return normalized(action.group, slope(action, lambda w: squared(grad(loss)(w)), parameters, data))


def squared(tensors: Tensors) -> Tensor:
    """The sum of all squares."""
    first, *others = tensors.values()
    return sum((t.square().sum() for t in others), first.square().sum())
