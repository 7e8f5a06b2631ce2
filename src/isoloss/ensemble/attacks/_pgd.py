"""Projected gradient descent: many steps of the fast gradient method, each projected back."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from isoloss._checks import is_size, is_whole
from isoloss.ensemble.attacks._attack import (
    Loss,
    Range,
    check_inputs,
    clipped,
    input_gradient,
    radius_of,
    summed_cross_entropy,
)
from isoloss.ensemble.attacks._ball import BALLS, check_norm


@dataclass(frozen=True)
class PGD:
    r"""Ascent of the loss within a ball around the inputs.

    .. math:: x_{t+1} = \mathrm{clip}\bigl(x_0 + \Pi_s(x_t + \alpha\,d_t - x_0)\bigr)

    with :math:`d_t` the steepest direction of norm 1 and :math:`\Pi_s` the projection on the ball of radius s. Clipping
    to a box that holds :math:`x_0` leads no farther from it, so the last point lies in the ball as well.

    Attributes:
        norm: "linf" or "l2".
        valid: Smallest and largest value of inputs, numbers or tensors; None for any.
        steps: Number of gradients.
        rate: Length of all steps together, in units of the strength: alpha = rate * strength / steps.
        random_start: Start at a random point of the ball.
        loss: Of outputs and targets, summed over samples.
        generator: Source of random numbers; the global one if None.

    References:
        Madry et al. (2018), Towards deep learning models resistant to adversarial attacks, section 2.1.
    """

    norm: Literal["linf", "l2"] = "linf"
    valid: Range | None = (0.0, 1.0)
    steps: int = 10
    rate: float = 2.5
    random_start: bool = True
    loss: Loss = summed_cross_entropy
    generator: torch.Generator | None = None

    name: ClassVar[str] = "pgd"

    def __post_init__(self) -> None:
        check_norm("PGD", self.norm)
        if not is_whole(self.steps, 1):
            raise ValueError(f"PGD: steps must be a positive integer; got {self.steps!r}.")
        if not is_size(self.rate):
            raise ValueError(f"PGD: rate must be a number that is not negative; got {self.rate!r}.")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, strength: float | Tensor) -> Tensor:
        """See `Attack`."""
        check_inputs("PGD", x, strength, self.valid)
        ball, radius = BALLS[self.norm], radius_of(strength, x)
        moved = x.detach()
        if self.random_start:
            moved = clipped(moved + radius * ball.sample(moved, self.generator), self.valid)
        for _ in range(self.steps):
            step = self.rate / self.steps * radius * ball.steepest(input_gradient(model, moved, y, self.loss))
            moved = clipped(x + ball.project(moved + step - x, radius), self.valid)
        return moved
