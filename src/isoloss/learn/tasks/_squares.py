"""Tasks on test functions that are a squared norm after a change of variables."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from isoloss._checks import is_length
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action, Rotation
from isoloss.learn.tasks._count import check_count
from isoloss.learn.tasks._tasks import Draw
from isoloss.problems import SumOfSquares

ROUNDS = 1000


@dataclass(frozen=True)
class SquaresTasks(ABC):
    r"""Minimize a member of a family of functions :math:`L(w) = |h(w)|^2`, from a standard normal start "w".

    The action of O(n) goes through the inverse of h, and gradient descent feels the square of its Jacobian J. Where
    the family is drawn freely, some J are nearly singular: the loss is then flat along one direction, and a rotation
    throws the point far away. `conditioning` bounds that.

    Args:
        conditioning: Tasks are drawn anew until all singular values of J at the start lie between 1 / conditioning
            and conditioning. A bound of 10 keeps seven of eight ellipses and two of three valleys. None keeps all, as
            the paper does.

    Raises:
        ValueError: If conditioning is not greater than 1.
    """

    name: ClassVar[str]
    conditioning: float | None = None

    def __post_init__(self) -> None:
        if self.conditioning is not None and not (is_length(self.conditioning) and self.conditioning > 1):
            raise ValueError(
                f"{type(self).__name__}: conditioning must be greater than 1; got {self.conditioning!r}. "
                "Pass None to bound nothing."
            )

    @abstractmethod
    def problem(self, data: Tensors) -> SumOfSquares:
        """The function of one task; may be built under `torch.func`."""

    @abstractmethod
    def members(self, n: int, generator: torch.Generator | None) -> Tensors:
        """What tells n members of the family apart, (n, *shape) by name."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """Rotations of the new variables."""
        return (Rotation(self.problem),)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Draw n tasks.

        Raises:
            ValueError: If n is less than 1, or hardly any task is as well conditioned as asked for.
        """
        check_count(type(self).__name__, n)
        drawn = self._draw(n, generator)
        if self.conditioning is None:
            return drawn
        for _ in range(ROUNDS):
            poor = ~(self._spread(drawn) <= self.conditioning)
            if not poor.any():
                return drawn
            drawn = _replaced(drawn, self._draw(n, generator), poor)
        raise ValueError(
            f"{type(self).__name__}.draw: tasks as well conditioned as asked for must be likely; got none for {n} "
            f"tasks in {ROUNDS} rounds with conditioning = {self.conditioning:g}. Raise it."
        )

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """All there is."""
        return data

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """The value at one point."""
        return self.problem(data)(parameters["w"])

    def _draw(self, n: int, generator: torch.Generator | None) -> Draw:
        data = self.members(n, generator)
        return Draw({"w": torch.randn(n, 2, generator=generator, dtype=torch.float64)}, data)

    def _spread(self, drawn: Draw) -> Tensor:
        """The larger of the largest singular value of J at the start and the inverse of the smallest, (n,)."""
        jacobians = vmap(lambda p, data: jacrev(self.problem(data).residual)(p["w"]))(
            drawn.parameters, drawn.data
        )
        values = torch.linalg.svdvals(jacobians)
        return torch.maximum(values[:, 0], 1 / values[:, -1])


def _replaced(old: Draw, new: Draw, where: Tensor) -> Draw:
    """The new tasks where asked for, else the old."""

    def chosen(a: Tensors, b: Tensors) -> Tensors:
        return {name: torch.where(where.view(-1, *[1] * (a[name].dim() - 1)), b[name], a[name]) for name in a}

    return Draw(chosen(old.parameters, new.parameters), chosen(old.data, new.data))
