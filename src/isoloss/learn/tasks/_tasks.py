"""What a distribution of tasks is: optimizees to draw, their loss, and what may teleport them."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


@dataclass(frozen=True, eq=False)
class Draw:
    """Tasks drawn together.

    Attributes:
        parameters: Where the optimizees start, (n, *shape) by name.
        data: What makes the tasks differ, (n, *shape) by name; empty if nothing does.
    """

    parameters: Tensors
    data: Tensors

    @property
    def size(self) -> int:
        """Number of tasks."""
        return len(next(iter(self.parameters.values())))


@runtime_checkable
class Tasks(Protocol):
    """A distribution of tasks. A new one is one file here and one line in `TASKS`.

    Attributes:
        name: As the command line knows it.
    """

    name: ClassVar[str]

    @property
    def actions(self) -> tuple[Action, ...]:
        """What may teleport an optimizee; empty if nothing may."""
        ...

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n tasks.

        Raises:
            ValueError: If n is less than 1.
        """
        ...

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """What one step sees of the data of n tasks, (n, *shape) by name: all, unless tasks are stochastic."""
        ...

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """The loss of one task, a scalar; runs under `torch.func`."""
        ...
