"""Solvers that no group element describes: they give new values of parameters."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._point import Point, without_loss
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_evaluated
from isoloss.teleport.solvers._solver import Solution


class Displacement(ABC):
    """What solvers share that displace parameters: they need the loss, and of the symmetries at most their places.

    One more of them writes `displaced`, and where it is choosy `check` and `uses`.
    """

    along_symmetries: ClassVar[bool] = False
    displaces: ClassVar[bool] = True

    def uses(self, symmetry: Symmetry) -> bool:
        """None: it needs no symmetry."""
        return False

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`.

        Raises:
            ValueError: If there is no loss, or the objective cannot be evaluated.
        """
        if not loss:
            raise without_loss(type(self).__name__)
        check_evaluated(objective, loss, type(self).__name__)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find new parameters; see `Solver.solve` and `displaced`."""
        return self.displaced(objective, symmetries, point, radius)

    @abstractmethod
    def displaced(
        self, objective: Objective, symmetries: Sequence[Symmetry], point: Point, radius: float
    ) -> Solution:
        """Find new parameters, of a point that is to be left as it is."""
