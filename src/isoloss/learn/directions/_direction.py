"""What a direction is: a rule that proposes where on the orbit to go."""

from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


@runtime_checkable
class Direction(Protocol):
    """A rule that proposes an algebra element at a point; a learned teleport weighs several.

    A new one is one file here and one line in `DIRECTIONS`. Written for one optimizee; runs under `torch.func`.

    Attributes:
        name: Its name in `DIRECTIONS`.
    """

    name: ClassVar[str]

    def suits(self, action: Action) -> bool:
        """Does it propose anything for this action?"""
        ...

    def __call__(
        self,
        action: Action,
        loss: Callable[[Tensors], Tensor],
        parameters: Tensors,
        data: Tensors,
        gradient: Tensors,
    ) -> Tensor:
        """The algebra element, shape (*action.batch, *action.group.algebra_shape).

        Args:
            action: What moves the weights.
            loss: Of the weights, a scalar.
            parameters: Where the optimizee is.
            data: Its data.
            gradient: Of the loss there.
        """
        ...
