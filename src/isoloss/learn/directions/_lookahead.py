"""The direction in which the next step of gradient descent leads to a lower loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import grad

from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action
from isoloss.learn.directions._gradient_norm import squared
from isoloss.learn.directions._slope import normalized, slope


@dataclass(frozen=True)
class Lookahead:
    r"""Minus the slope, along the orbit, of the loss after one step of gradient descent, normalized.

    .. math:: a \propto -\nabla_a\, L\bigl(w' - \eta\, \nabla L(w')\bigr), \quad w' = \exp(a) \cdot w, \qquad
        \eta = \text{step} \cdot \frac{L(w)}{|\nabla L(w)|^2}

    The default rate is that of Polyak for a loss whose least value is 0. It is computed where the optimizee is, and
    kept as w' moves. For small rates the direction is that of `GradientNorm`. `group.norm` of it is 1, or 0; where the
    step leaves the finite numbers it is 0.

    Attributes:
        step: The step, relative to Polyak's.
        lr: A fixed rate instead, as published; None for the relative one.

    References:
        2025 paper, Algorithm 2, where theta, the angle of a rotation, descends on f(x_{t+1}).
    """

    step: float = 1.0
    lr: float | None = None

    name: ClassVar[str] = "lookahead"

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
        rate = self.lr if self.lr is not None else self.step * _polyak(loss(parameters), gradient)

        def ahead(w: Tensors) -> Tensor:
            down = grad(loss)(w)
            return loss({name: value - rate * down[name] for name, value in w.items()})

        return normalized(action.group, -slope(action, ahead, parameters, data))


def _polyak(value: Tensor, gradient: Tensors) -> Tensor:
    square = squared(gradient)
    flat = square <= 0
    return torch.where(flat, 0.0, value / torch.where(flat, 1.0, square))
