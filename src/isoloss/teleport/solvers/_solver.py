"""How the group element of a teleport is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from isoloss.symmetry import Symmetry
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective

CONSTANT = "no direction that the solver may take changes the objective by more than rounding does"
SWITCHED_OFF = "the radius is 0"


@dataclass(frozen=True)
class Solution:
    """Where to jump.

    Attributes:
        elements: One per symmetry, None where nothing should move.
        before: The objective here, a tensor of no dimension.
        after: The objective at the point that the elements lead to, as predicted.
        size: Largest spectral norm of an algebra element; without a group, the length that the solver bounds.
        displaced: For solvers that move without a symmetry: new values of parameters by name, instead of elements.
            The optimizer's state is then kept, or reset where a policy says so: it cannot be transported.
        gradients: Gradients at the displaced point, if the solver knows them; else they cost one forward and one
            backward pass, for which `Teleport` needs a loss.
        transported: Are `before` and `after` the squared norms of the gradients that the elements transport?
        skipped: Why nothing is to be moved, if nothing is.
    """

    elements: list[Tensor | None]
    before: Tensor
    after: Tensor
    size: Tensor
    displaced: Mapping[str, Tensor] | None = None
    gradients: Mapping[str, Tensor] | None = None
    transported: bool = False
    skipped: str | None = None


class Solver(Protocol):
    """Finds elements that improve the objective. A new solver is one file here and one line in `SOLVERS`.

    A solver that moves without symmetries has a class attribute `along_symmetries = False`, and one that returns what
    it displaces, instead of elements, `displaces = True`; `Displacement` is a base for both. A method
    `check(objective, symmetries, radius, loss)` may raise what `solve` would, as far as that is known without a point:
    `Teleport` calls it when it is made, with the symmetries, the radius, and whether there will be a loss. A method
    `bound(symmetries)` may return the solver for a model, where it must know more than the symmetries that it uses.
    """

    def uses(self, symmetry: Symmetry) -> bool:
        """Can it move along this symmetry? Others are passed over."""
        ...

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None,
    ) -> Solution:
        """Find elements within the radius.

        Args:
            objective: What to improve.
            symmetries: Along what; `uses` is true for each.
            scalings: The scalings among them, taken together.
            point: Where the training is; to be left as it is.
            radius: Largest spectral norm of an algebra element.
            generator: The only source of random numbers.
        """
        ...
