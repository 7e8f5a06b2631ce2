"""Curved valleys: one from many starts, and many."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoloss.learn._tensors import Tensors
from isoloss.learn.tasks._squares import SquaresTasks
from isoloss.problems import GeneralizedRosenbrock


@dataclass(frozen=True)
class FixedRosenbrockTasks(SquaresTasks):
    """The valley with a = 1, b = -1, c = -2, d = 0.4 x^2, from standard normal starts "w". There are no data.

    References:
        2025 paper, Section 5.1.1 and Figure 5.
    """

    name: ClassVar[str] = "rosenbrock-fixed"

    def problem(self, data: Tensors) -> GeneralizedRosenbrock:
        """The valley."""
        return GeneralizedRosenbrock()

    def members(self, n: int, generator: torch.Generator | None) -> Tensors:
        """Nothing: all tasks have the same function."""
        return {}


@dataclass(frozen=True)
class RosenbrockTasks(SquaresTasks):
    r"""Valleys :math:`(c y + d(x))^2 + (a x + b)^2` with a quadratic d; all coefficients and the start standard normal.

    The data are "a" and "b", numbers, and the coefficients "c" (1,) and "d" (3,), the constant ones first. The action
    divides by a and c: near 0 it throws points far away.

    References:
        2025 paper, Section 5.1.1 and Figure 6.
    """

    name: ClassVar[str] = "rosenbrock"

    def problem(self, data: Tensors) -> GeneralizedRosenbrock:
        """The valley of one task."""
        return GeneralizedRosenbrock(data["a"], data["b"], data["c"], data["d"])

    def members(self, n: int, generator: torch.Generator | None) -> Tensors:
        """The coefficients of n valleys."""
        family = GeneralizedRosenbrock.sample((n,), generator=generator)
        named = {"a": family.a, "b": family.b, "c": family.c, "d": family.d}
        return {name: torch.as_tensor(value) for name, value in named.items()}
