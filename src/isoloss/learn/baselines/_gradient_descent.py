"""Gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

from isoloss.learn._tensors import Tensors
from isoloss.learn.baselines._baseline import Baseline, State


@dataclass(frozen=True)
class GradientDescent(Baseline):
    r"""Gradient descent, :math:`w \leftarrow w - \eta \nabla L(w)`."""

    name: ClassVar[str] = "gd"

    def update(self, gradient: Tensors, state: State, step: int) -> tuple[Tensors, State]:
        """The gradient."""
        return gradient, state
