"""What an action is: how elements of a group move the weights of one optimizee."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from isoloss.groups import Group
from isoloss.learn._tensors import Tensors


@runtime_checkable
class Action(Protocol):
    """How a group moves the weights of one optimizee without changing its loss.

    Written for one optimizee; everything runs under `torch.func`, so that many are moved at once by vmap.

    Attributes:
        name: For reports.
        group: What acts; it is continuous, so that elements come from its algebra.
        batch: Elements have shape (*batch, *group.element_shape).
        parameters: Names of the weights that move.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def group(self) -> Group: ...  # noqa: D102

    @property
    def batch(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def parameters(self) -> tuple[str, ...]: ...  # noqa: D102

    def act(self, g: Tensor, parameters: Tensors, data: Tensors) -> Tensors:
        """The weights that g moves, as new tensors by name.

        Args:
            g: Element, shape (*batch, *group.element_shape).
            parameters: All weights of the optimizee.
            data: What its loss depends on besides.
        """
        ...

    def units(self, parameters: Tensors, data: Tensors) -> Tensor | None:
        """Activations of the hidden units whose basis the group changes, (h, k); None if there are none."""
        ...
