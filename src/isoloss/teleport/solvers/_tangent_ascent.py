"""The published first-order teleport: it leaves the group, and the loss with it, at second order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._climb import climb
from isoloss.teleport._noise import Noise, rounding
from isoloss.teleport._orbit import differentiated
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_evaluated
from isoloss.teleport.solvers._lie_ascent import largest, moves_by_a_length
from isoloss.teleport.solvers._settings import check_counts, check_length, check_rate
from isoloss.teleport.solvers._solver import CONSTANT, Solution


@dataclass(frozen=True)
class TangentAscent:
    r"""Climb in the tangent space of the orbit: 1 + T where a group element belongs, 1 - T for its inverse.

    .. math:: T_i \leftarrow T_i + \eta\, \mathrm{moment}_i(\nabla f(w_T), w), \qquad w_T = w + \sum_i T_i \cdot w

    The loss is kept to first order in T only; what it changes is not bounded here: give
    `Teleport(..., max_loss_change=)`. It is what the published regressions do, and there to compare with;
    `LieAscent` is exact, for the same work.

    Attributes:
        steps: Evaluations of the objective and its gradient, after the first one.
        rate: The :math:`\eta` of the papers; None makes every step radius / steps long.

    References:
        Dissertation, section 4.6. Differs: where two groups meet at a weight we leave out the term of second order
        T W T'; the path is bounded, and steps that do not improve are taken back.
    """

    steps: int = 10
    rate: float | None = None

    along_symmetries: ClassVar[bool] = True
    displaces: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(self, "steps")
        check_rate(self)

    def uses(self, symmetry: Symmetry) -> bool:
        """Every continuous group but translations, as `LieAscent`."""
        return moves_by_a_length(symmetry)

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`."""
        check_evaluated(objective, loss, "TangentAscent")
        check_length("TangentAscent", radius, self.rate)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find new parameters; the radius bounds the spectral norm of every T. See `Solver.solve`.

        Raises:
            ValueError: If there is no loss, or steps have no length.
        """
        here = {n: t.detach() for n, t in point.tensors.items()}
        names = list(dict.fromkeys(n for s in symmetries for n in s.parameters))
        start = [s.moment({}, here) for s in symmetries]

        def there(algebra: Sequence[Tensor]) -> dict[str, Tensor]:
            moved = {n: here[n].clone() for n in names}
            for symmetry, a in zip(symmetries, algebra, strict=True):
                for n, v in symmetry.generator(a, here).items():
                    moved[n] += v
            return here | moved

        def at(algebra: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            value, found = differentiated(objective, point, there(algebra), names)
            return value, [s.moment(found, here) for s in symmetries]

        end = climb(
            start,
            at,
            lambda algebra, slopes, t: [a + t * m for a, m in zip(algebra, slopes, strict=True)],
            lambda slopes: largest(symmetries, slopes),
            steps=self.steps,
            radius=radius,
            rate=self.rate,
            lower=objective.lower,
            noise=Noise.of(point, objective, rounding(point)),
        )
        moved: Mapping[str, Tensor] | None = {n: there(end.state)[n] for n in names} if end.moved else None
        return Solution(
            [None] * len(symmetries),
            end.before,
            end.after,
            end.before.new_tensor(end.length),
            displaced=moved,
            skipped=None if end.moved else CONSTANT,
        )
