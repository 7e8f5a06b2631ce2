"""How a test problem is teleported: to a larger gradient on the level set, or just anywhere on it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.func import grad

from isoloss.groups import Orthogonal
from isoloss.problems._element import element, rotation
from isoloss.problems._problem import Problem

Teleporter = Callable[[Problem, Tensor, torch.Generator | None], Tensor]
"""Chooses one group element per point: problem, points ``(*batch, size)``, source of randomness."""


def squared_gradient(problem: Problem, w: Tensor) -> Tensor:
    r"""The squared gradient :math:`|\nabla L|^2` at every point: ``(*batch, size)`` to ``(*batch)``."""
    return grad(lambda w: problem(w).sum())(w).square().sum(-1)


@dataclass(frozen=True)
class Ascent:
    r"""Gradient ascent on the squared gradient, over the coordinates of the group element.

    .. math:: c \leftarrow c + \eta\, \nabla_c |\nabla L(g(c) \cdot w)|^2

    The coordinates start uniform in an interval, one draw per point. With no steps this is a random group element:
    the control that every figure of the papers lacks. The step is not scaled, so that on a steep slope it turns through
    many circles: on the Rosenbrock function, at the published rate, through some twenty.

    Args:
        steps: Number of ascent steps.
        lr: The rate :math:`\eta`.
        start: Lower and upper end of the interval.

    References:
        2022 paper, Algorithm 1 and Section 6.1; dissertation, Section 4.6.1.
    """

    steps: int = 10
    lr: float = 0.1
    start: tuple[float, float] = (0.0, pi)

    def __call__(self, problem: Problem, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Choose the elements."""
        low, high = self.start
        draw = torch.rand(*w.shape[:-1], problem.group.dim, generator=generator, dtype=torch.float64)
        c = (low + (high - low) * draw).to(w)
        rise = grad(lambda c: squared_gradient(problem, problem.act(element(problem.group, c), w)).sum())
        for _ in range(self.steps):
            c = c + self.lr * rise(c)
        return element(problem.group, c)


@dataclass(frozen=True)
class SteepestRotation:
    """The rotation to the largest gradient on the level set, in the plane: a grid, then golden sections.

    Args:
        grid: Number of angles tried first; the best one's neighbours bracket the maximum.
        refinements: Golden sections after that; each shortens the bracket by 0.618.
    """

    grid: int = 512
    refinements: int = 40

    def __call__(self, problem: Problem, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Choose the elements; nothing is drawn.

        Raises:
            ValueError: If the group is not that of the plane.
        """
        if problem.group != Orthogonal(2):
            raise ValueError(
                f"SteepestRotation: the group must be O(2); got {problem.group.name}. Use Ascent for other groups."
            )

        def height(angle: Tensor) -> Tensor:
            return squared_gradient(
                problem, problem.act(rotation(angle), w.expand(*angle.shape, w.shape[-1]))
            )

        angles = torch.arange(self.grid).to(w) * (2 * pi / self.grid)
        heights = height(angles.view(-1, *(1,) * (w.dim() - 1)).expand(-1, *w.shape[:-1]))
        best = angles[heights.nan_to_num(-torch.inf).argmax(0)]
        return rotation(
            _golden(height, best - 2 * pi / self.grid, best + 2 * pi / self.grid, self.refinements)
        )


def _golden(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, steps: int) -> Tensor:
    ratio = (5**0.5 - 1) / 2
    for _ in range(steps):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        left = f(a) > f(b)
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    return (low + high) / 2
