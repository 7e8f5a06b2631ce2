"""Gradient ascent on group elements, by automatic differentiation through the action, as the papers do it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan

import torch
from torch import Tensor
from torch.func import jvp

from isoloss.reproduce._actions import Action, Elements, zeros
from isoloss.reproduce._network import Weights, outputs

Loss = Callable[[Tensor, Tensor], Tensor]
Objective = Callable[[Weights], Tensor]
"""What is raised, a differentiable function of the weights."""


def gradient_norm(loss: Loss, x: Tensor, y: Tensor, scale: Sequence[Tensor] | None = None) -> Objective:
    r"""The squared gradient norm on a batch, or the Mahalanobis norm :math:`\sum A g^2` for a diagonal A.

    Args:
        loss: Of outputs and targets.
        x: Inputs.
        y: Targets.
        scale: The diagonal A, a tensor for every weight; dissertation Eq. (5.7).
    """

    def value(weights: Weights) -> Tensor:
        # Clones: one moved weight may depend on another, and the gradient is that of each alone.
        ws = [w.clone() if w.requires_grad else w.detach().requires_grad_() for w in weights]
        gradients = torch.autograd.grad(loss(outputs(ws, x), y), ws, create_graph=True)
        scales = [1.0] * len(ws) if scale is None else scale
        terms = [(a * g.square()).sum() for a, g in zip(scales, gradients, strict=True)]
        return torch.stack(terms).sum()

    return value


@dataclass(frozen=True)
class Ascent:
    """Where an ascent leads.

    Attributes:
        weights: The moved weights; not finite if a gradient was not.
        path: The elements by which the weights moved, one after another: one if the steps were added up.
    """

    weights: Weights
    path: tuple[tuple[Tensor, ...], ...]

    @property
    def total(self) -> tuple[Tensor, ...]:
        """The sum of the elements, one per hidden layer."""
        return tuple(torch.stack(ts).sum(0) for ts in zip(*self.path, strict=True))

    @property
    def size(self) -> float:
        """The largest Frobenius norm of the sum."""
        return max(t.norm().item() for t in self.total)


def ascend(
    action: Action,
    weights: Weights,
    x: Tensor,
    objective: Objective,
    *,
    steps: int,
    rate: float,
    restart: bool = True,
    longest: float = inf,
) -> Ascent:
    """Raise the objective along the action; a negative rate lowers it.

    Args:
        action: How elements move the weights.
        weights: Where to start.
        x: Inputs that the action depends on.
        objective: What to raise.
        steps: Gradient steps.
        rate: Their size.
        restart: Move the weights after every step and take the next one at the identity (dissertation, Algorithm 2);
            otherwise the steps add up in T, and the weights move once at the end.
        longest: Longer steps (Frobenius norm over all T) are cut; the papers have no bound, and then large gradients
            overshoot.
    """
    weights = tuple(w.detach() for w in weights)
    identity = zeros(weights)
    total, path = identity, []
    for _ in range(steps):
        step = _gradient(action, weights, identity if restart else total, x, objective)
        length = torch.stack([s.norm() for s in step]).norm().item() * abs(rate)
        if not isfinite(length):
            return Ascent(tuple(torch.full_like(w, nan) for w in weights), tuple(path) or (identity,))
        step = tuple(rate * min(1.0, longest / max(length, 1e-300)) * s for s in step)
        if restart:
            weights = action(weights, step, x)
            path.append(step)
        total = tuple(t + s for t, s in zip(total, step, strict=True))
    if not restart:
        weights, path = action(weights, total, x), [total]
    return Ascent(weights, tuple(path) or (identity,))


def follow(action: Action, weights: Weights, ascent: Ascent, x: Tensor, tangents: Weights) -> Weights:
    """Tangent vectors at the weights, such as a momentum, moved along with them by the action's differential."""
    weights = tuple(w.detach() for w in weights)
    for elements in ascent.path:
        weights, tangents, *_ = jvp(lambda *ws, g=elements: action(ws, g, x), weights, tangents)
    return tangents


def _gradient(action: Action, weights: Weights, here: Elements, x: Tensor, objective: Objective) -> Weights:
    with torch.enable_grad():
        elements = [t.detach().requires_grad_() for t in here]
        return torch.autograd.grad(objective(action(weights, elements, x)), elements)
