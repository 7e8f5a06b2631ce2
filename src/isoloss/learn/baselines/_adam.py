"""Adam."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoloss._checks import is_size
from isoloss.learn._tensors import Tensors
from isoloss.learn.baselines._baseline import Baseline, State


@dataclass(frozen=True)
class Adam(Baseline):
    r"""Adam, as `torch.optim.Adam` has it.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) \nabla L, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) (\nabla L)^2,
        \qquad w \leftarrow w - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Args:
        betas: Of the two averages.
        eps: Added to the root.

    Raises:
        ValueError: If a beta does not lie in [0, 1), or eps is not positive.

    References:
        Kingma and Ba (2015), Algorithm 1, arXiv:1412.6980.
    """

    name: ClassVar[str] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not all(is_size(beta) and beta < 1 for beta in self.betas):
            raise ValueError(f"Adam: betas must lie in [0, 1); got {self.betas!r}; (0.9, 0.999) are usual.")
        if not (is_size(self.eps) and self.eps > 0):
            raise ValueError(f"Adam: eps must be positive; got {self.eps!r}; 1e-8 is usual.")

    def start(self, parameters: Tensors) -> State:
        """Averages of nothing."""
        zeros = {name: torch.zeros_like(x) for name, x in parameters.items()}
        return zeros, zeros

    def update(self, gradient: Tensors, state: State, step: int) -> tuple[Tensors, State]:
        """The average gradient over the root of the average square."""
        a, b = self.betas
        means, squares = state
        means = {name: a * means[name] + (1 - a) * x for name, x in gradient.items()}
        squares = {name: b * squares[name] + (1 - b) * x.square() for name, x in gradient.items()}
        seen, seen_squares = 1 - a ** (step + 1), 1 - b ** (step + 1)
        move = {
            name: (m / seen) / ((squares[name] / seen_squares).sqrt() + self.eps) for name, m in means.items()
        }
        return move, (means, squares)
