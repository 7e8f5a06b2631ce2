"""The best of several random elements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._orbit import Elements, orbit
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_on_orbit
from isoloss.teleport.solvers._random_teleport import RandomTeleport, drawn
from isoloss.teleport.solvers._settings import check_counts, check_finite, check_switch
from isoloss.teleport.solvers._solver import CONSTANT, Solution


@dataclass(frozen=True)
class RandomSearch:
    """Draw elements of random sizes up to the radius, and take the best; the identity takes part.

    Needs values only, so that objectives without a derivative can be sought, too.

    Attributes:
        trials: Elements drawn, each one evaluation.
        discrete: Draw permutations and signs, too.

    References:
        Dissertation, section 4.3: "search algorithms or random sampling".
    """

    trials: int = 16
    discrete: bool = False

    along_symmetries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(self, "trials")
        check_switch(self, "discrete")

    def uses(self, symmetry: Symmetry) -> bool:
        """Every group but translations, as `RandomTeleport`."""
        return RandomTeleport(self.discrete).uses(symmetry)

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`."""
        check_on_orbit(objective, loss, "RandomSearch")
        check_finite("RandomSearch", radius)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find elements within the radius; see `Solver.solve`.

        Raises:
            ValueError: If the radius is not finite.
        """
        check_finite("RandomSearch", radius)
        landscape = orbit(objective, symmetries, scalings, point)
        sign = -1.0 if objective.lower else 1.0
        best: Elements = [None] * len(symmetries)
        before = after = landscape.value(best)
        size = 0.0
        for _ in range(self.trials if radius > 0.0 else 0):
            source = generator.device if generator else None
            length = radius * torch.rand((), generator=generator, device=source, dtype=torch.float64).item()
            trial = drawn(symmetries, landscape.members, length, point, generator)
            value = landscape.value(trial)
            if value.isfinite() and sign * (value - after) > 0.0:
                best, after, size = trial, value, length
        moved = not landscape.noise.hides(sign * (after - before), before)
        return Solution(
            best if moved else [None] * len(symmetries),
            before,
            after if moved else before,
            before.new_tensor(size if moved else 0.0),
            transported=landscape.transported,
            skipped=None if moved else CONSTANT,
        )
