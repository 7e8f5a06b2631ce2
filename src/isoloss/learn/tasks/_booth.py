"""Ellipses: one from many starts, and many."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from isoloss.learn._tensors import Tensors
from isoloss.learn.tasks._squares import SquaresTasks
from isoloss.problems import GeneralizedBooth


@dataclass(frozen=True)
class FixedBoothTasks(SquaresTasks):
    """The ellipse with A = diag(0.5, 3) and b = 0, from standard normal starts "w". There are no data.

    References:
        2025 paper, Section 5.1.1 and Figure 3.
    """

    name: ClassVar[str] = "booth-fixed"

    def problem(self, data: Tensors) -> GeneralizedBooth:
        """The ellipse."""
        return GeneralizedBooth()

    def members(self, n: int, generator: torch.Generator | None) -> Tensors:
        """Nothing: all tasks have the same function."""
        return {}


@dataclass(frozen=True)
class BoothTasks(SquaresTasks):
    r"""Ellipses :math:`|A w + b|^2`: A as "matrix" (2, 2), b as "shift" (2,), and the start "w", standard normal.

    Drawn freely, one A in ten has a condition number above 20, and that of the Hessian is its square.

    References:
        2025 paper, Section 5.1.1 and Figure 4.
    """

    name: ClassVar[str] = "booth"

    def problem(self, data: Tensors) -> GeneralizedBooth:
        """The ellipse of one task."""
        return GeneralizedBooth(data["matrix"], data["shift"])

    def members(self, n: int, generator: torch.Generator | None) -> Tensors:
        """A and b of n ellipses."""
        family = GeneralizedBooth.sample((n,), generator=generator)
        return {"matrix": family.matrix, "shift": torch.as_tensor(family.shift)}
