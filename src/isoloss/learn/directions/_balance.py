"""The direction in which the weights become small."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.directions._slope import normalized, slope


class Balance:
    r"""Minus the slope of the squared norm of the weights along the orbit, normalized.

    .. math:: a \propto -\nabla_a\, |\exp(a) \cdot w|^2, \qquad
        a \propto W_2^T W_2 - W_1 W_1^T \ \text{for}\ (g W_1, W_2 g^{-1})

    It vanishes where two layers are balanced. `group.norm` of it is 1, or 0.

    References:
        Dissertation, Section 2.5 (imbalance, a conserved quantity of the gradient flow).
    """

    name: ClassVar[str] = "balance"

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
        """See `Direction`; neither loss nor gradient is read."""

        def size(w: Tensors) -> Tensor:
            return sum(
                (w[name].square().sum() for name in action.parameters[1:]),
                w[action.parameters[0]].square().sum(),
            )

        return normalized(action.group, -slope(action, size, parameters, data))
