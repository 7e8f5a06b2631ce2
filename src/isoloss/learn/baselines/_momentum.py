"""Gradient descent with momentum."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoloss._checks import is_size
from isoloss.learn._tensors import Tensors
from isoloss.learn.baselines._baseline import Baseline, State


@dataclass(frozen=True)
class Momentum(Baseline):
    r"""The heavy ball, as `torch.optim.SGD` has it.

    .. math:: v \leftarrow \beta v + \nabla L(w), \qquad w \leftarrow w - \eta v

    Args:
        beta: The momentum.

    Raises:
        ValueError: If beta does not lie in [0, 1).
    """

    name: ClassVar[str] = "momentum"
    beta: float = 0.9

    def __post_init__(self) -> None:
        if not (is_size(self.beta) and self.beta < 1):
            raise ValueError(f"Momentum: beta must lie in [0, 1); got {self.beta!r}; 0.9 is usual.")

    def start(self, parameters: Tensors) -> State:
        """No velocity."""
        return ({name: torch.zeros_like(x) for name, x in parameters.items()},)

    def update(self, gradient: Tensors, state: State, step: int) -> tuple[Tensors, State]:
        """The velocity."""
        (velocity,) = state
        velocity = {name: self.beta * velocity[name] + x for name, x in gradient.items()}
        return velocity, (velocity,)
