"""A random element of a given size: the control for every search, and neural teleportation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._orbit import Elements, orbit
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_on_orbit
from isoloss.teleport.solvers._lie_ascent import largest, moves_by_a_length
from isoloss.teleport.solvers._settings import check_finite, check_switch
from isoloss.teleport.solvers._solver import SWITCHED_OFF, Solution


@dataclass(frozen=True)
class RandomTeleport:
    """Jump to a random point of the orbit, as far as the radius allows, whatever the objective is there.

    Algebra elements are Gaussian, all multiplied by one number so that the largest spectral norm is the radius:
    "a random group element of the same size" as one that was sought.

    Attributes:
        discrete: Draw permutations and signs, too; uniformly, for they have no size.

    References:
        Armenta et al., Neural teleportation (2021), for scalings; dissertation section 4.3 ("random sampling").
    """

    discrete: bool = False

    along_symmetries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_switch(self, "discrete")

    def uses(self, symmetry: Symmetry) -> bool:
        """Every group but translations, along which a length would have the unit of a parameter."""
        return moves_by_a_length(symmetry) or (self.discrete and symmetry.group.dim == 0)

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`."""
        check_on_orbit(objective, loss, "RandomTeleport")
        check_finite("RandomTeleport", radius)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Draw elements; see `Solver.solve`. The objective is evaluated for the report only.

        Raises:
            ValueError: If the radius is not finite.
        """
        check_finite("RandomTeleport", radius)
        landscape = orbit(objective, symmetries, scalings, point)
        nothing: Elements = [None] * len(symmetries)
        before = landscape.value(nothing)
        if not radius > 0.0:
            return Solution(nothing, before, before, torch.zeros_like(before), skipped=SWITCHED_OFF)
        elements = drawn(symmetries, landscape.members, radius, point, generator)
        smooth = any(symmetries[i].group.dim for i in landscape.members)
        return Solution(
            elements,
            before,
            landscape.value(elements),
            before.new_tensor(radius if smooth else 0.0),
            transported=landscape.transported,
        )


def drawn(
    symmetries: Sequence[Symmetry],
    members: Sequence[int],
    size: float,
    point: Point,
    generator: torch.Generator | None,
) -> Elements:
    """A random element for each of the members, the largest of this size."""
    elements: Elements = [None] * len(symmetries)
    smooth = [i for i in members if symmetries[i].group.dim]
    algebra = [_gaussian(symmetries[i], point, generator) for i in smooth]
    longest = largest([symmetries[i] for i in smooth], algebra)
    for i, a in zip(smooth, algebra, strict=True):
        elements[i] = symmetries[i].group.exp(a * (size / longest if longest else 0.0))
    for i in members:
        if not symmetries[i].group.dim:
            x = point.tensors[symmetries[i].parameters[0]]
            wide = torch.promote_types(torch.float32, x.dtype)
            elements[i] = symmetries[i].sample(generator=generator, dtype=wide, device=x.device)
    return elements


def _gaussian(symmetry: Symmetry, point: Point, generator: torch.Generator | None) -> Tensor:
    x = point.tensors[symmetry.parameters[0]]
    source = generator.device if generator else torch.device("cpu")
    shape = (*symmetry.batch, *symmetry.group.algebra_shape)
    a = torch.randn(shape, generator=generator, dtype=torch.float64, device=source)
    return symmetry.group.project(a).to(x.device, torch.promote_types(torch.float32, x.dtype))
