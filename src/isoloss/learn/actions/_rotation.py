"""Rotations of test functions that are a squared norm after a change of variables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from isoloss.groups import Orthogonal
from isoloss.learn._tensors import Tensors
from isoloss.problems import SumOfSquares


@dataclass(frozen=True)
class Rotation:
    r"""The rotations of the new variables of :math:`L(w) = |h(w)|^2`, where h depends on the task.

    .. math:: g \cdot w = h^{-1}(g\, h(w))

    Attributes:
        family: From the data of one task to its function; it runs under `torch.func`.
        size: Number of variables.
        parameter: Name of the point, of shape (size,).

    References:
        2025 paper, Section 5.1.1.
    """

    family: Callable[[Tensors], SumOfSquares]
    size: int = 2
    parameter: str = "w"

    sees_units: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """For reports."""
        return self.group.name

    @property
    def group(self) -> Orthogonal:
        """O(size); exponentials are rotations."""
        return Orthogonal(self.size)

    @property
    def batch(self) -> tuple[int, ...]:
        """One element moves the optimizee."""
        return ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The point."""
        return (self.parameter,)

    def act(self, g: Tensor, parameters: Tensors, data: Tensors) -> Tensors:
        """See `Action`."""
        return {self.parameter: self.family(data).act(g, parameters[self.parameter])}

    def units(self, parameters: Tensors, data: Tensors) -> None:
        """None: there are no hidden units."""
        return None
