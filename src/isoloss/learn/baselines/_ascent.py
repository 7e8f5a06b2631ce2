"""Ordinary teleportation of many optimizees: ascent on the gradient norm over the algebras of their actions."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

from isoloss._checks import is_length, is_whole
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action, bounded, element
from isoloss.learn.baselines._batch import beside, chosen, norms
from isoloss.learn.baselines._landing import Landing
from isoloss.learn.directions import GradientNorm
from isoloss.learn.tasks import Tasks


@dataclass(frozen=True)
class Ascent:
    r"""Normalized ascent steps on the squared gradient norm, one optimizee as any other.

    .. math:: a_j \leftarrow a_j + \ell\, \frac{d_j}{\lVert d_j \rVert}, \qquad
        d_j = \nabla_b \bigl|\nabla L(\exp(b) \cdot w')\bigr|^2 \Big|_{b = 0}, \qquad
        w' = \exp(a_k) \cdots \exp(a_1) \cdot w

    with one a for each action, in the order of the tasks. The elements act on the weights w that it began with, so
    that rounding does not add up. Where groups do not commute d is the slope at a only for small a; it still rises.

    A step of one optimizee is refused, and the next is half as long, if the loss is not finite or differs from that of
    w by more than half of the digits, the weights grow beyond a factor, or the gradient does not.

    Args:
        steps: Number of ascent steps.
        radius: Bound on `group.norm` of every a; the length of a step is the radius divided by `steps`.
        growth: By how much the norm of all weights may grow.

    Raises:
        ValueError: If steps is less than 1, the radius is not positive, or the factor is less than 1.

    References:
        2022 paper, Algorithm 1; dissertation, Algorithm 2. Differs: normalized, bounded, and what fails is refused.
    """

    steps: int = 10
    radius: float = 0.1
    growth: float = 10.0

    def __post_init__(self) -> None:
        if not is_whole(self.steps, least=1):
            raise ValueError(
                f"Ascent: steps must be at least 1; got {self.steps!r}. Pass a positive integer."
            )
        if not (is_length(self.radius) and self.radius > 0):
            raise ValueError(
                f"Ascent: the radius must be positive; got {self.radius!r}. A tenth is cautious."
            )
        if not (is_length(self.growth) and self.growth >= 1):
            raise ValueError(f"Ascent: growth must be at least 1; got {self.growth!r}. It is a factor.")

    def __call__(
        self, tasks: Tasks, actions: tuple[Action, ...], parameters: Tensors, data: Tensors
    ) -> Landing:
        """Teleport m optimizees, (m, *shape) by name; each sees its own data only.

        Args:
            tasks: What they are.
            actions: What may move them, at least one.
            parameters: Where they are.
            data: On which the gradient is to grow and the loss to stay.
        """
        propose = vmap(partial(_proposed, tasks, actions))
        move = vmap(partial(_moved, actions, self.radius))
        loss, before = _measured(tasks, parameters, data)
        longest = self.growth * norms(parameters)
        rounding = torch.finfo(loss.dtype).eps ** 0.5
        a = tuple(loss.new_zeros(len(loss), *x.batch, *x.group.algebra_shape) for x in actions)
        length = torch.full_like(loss, self.radius / self.steps)
        here, kept, norm = parameters, loss, before
        for _ in range(self.steps):
            tried = tuple(b + beside(length, b) * d for b, d in zip(a, propose(here, data), strict=True))
            there = move(tried, parameters, data)
            value, height = _measured(tasks, there, data)
            # Comparisons with numbers that are none are false.
            fits = ((value - loss).abs() <= rounding * loss.abs()) & (norms(there) <= longest)
            fits = fits & (height > norm) & (norm > 0) & height.isfinite()
            a = tuple(torch.where(beside(fits, b), b, c) for b, c in zip(tried, a, strict=True))
            here = chosen(fits, there, here)
            kept, norm = torch.where(fits, value, kept), torch.where(fits, height, norm)
            length = torch.where(fits, length, length / 2)
        moved = norm > before
        return Landing(
            here,
            gains=torch.where(moved, norm / before, 1.0),
            changes=torch.where(moved, (kept - loss) / loss.abs(), 0.0),
            sizes=_sizes(actions, a, self.radius),
        )


def _measured(tasks: Tasks, parameters: Tensors, data: Tensors) -> tuple[Tensor, Tensor]:
    """Losses and gradient norms of m optimizees."""
    gradient, loss = vmap(grad_and_value(tasks.loss))(parameters, data)
    return loss, norms(gradient)


def _proposed(
    tasks: Tasks, actions: tuple[Action, ...], parameters: Tensors, data: Tensors
) -> tuple[Tensor, ...]:
    """The direction of every action, of one optimizee."""

    def loss(w: Tensors) -> Tensor:
        return tasks.loss(w, data)

    gradient = grad(loss)(parameters)
    return tuple(GradientNorm()(x, loss, parameters, data, gradient) for x in actions)


def _moved(
    actions: tuple[Action, ...], radius: float, a: tuple[Tensor, ...], parameters: Tensors, data: Tensors
) -> Tensors:
    """One optimizee, by one action after another."""
    for action, b in zip(actions, a, strict=True):
        parameters = parameters | action.act(element(action, b, radius), parameters, data)
    return parameters


def _sizes(actions: tuple[Action, ...], a: tuple[Tensor, ...], radius: float) -> Tensor:
    """`group.norm` of the bounded algebra elements, the largest over the actions and their batches, (m,)."""
    sizes = [x.group.norm(bounded(x.group, b, radius)) for x, b in zip(actions, a, strict=True)]
    return torch.cat([size.flatten(1) if size.dim() > 1 else size.unsqueeze(1) for size in sizes], 1).amax(1)
