"""Ascent on the level set of the loss: no symmetry, only derivatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from torch import Tensor

from isoloss._checks import is_size
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._climb import climb
from isoloss.teleport._landscape import Landscape, Vector, dot, norm, plus
from isoloss.teleport._noise import Noise, rounding
from isoloss.teleport._point import Point
from isoloss.teleport.objectives import Objective
from isoloss.teleport.solvers._displacement import Displacement
from isoloss.teleport.solvers._settings import check_counts, check_length, check_rate
from isoloss.teleport.solvers._solver import CONSTANT, Solution

Place = tuple[Vector, Vector]  # parameters, and the gradient of the loss there


@dataclass(frozen=True)
class LevelSetAscent(Displacement):
    r"""Climb on the set of equal loss, by steps along its tangent and corrections along the gradient.

    .. math:: d = \operatorname{argmax}_d \; \langle \nabla f, d \rangle - \tfrac{1}{2 \rho} \lVert d \rVert^2
        \quad \text{with} \quad L(w) + \langle \nabla L, d \rangle = L_0

    Stationarity, with a multiplier for the linearized constraint, gives the step of sequential quadratic programming

    .. math:: d = \rho \Big( 1 - \frac{\nabla L \nabla L^T}{\lVert \nabla L \rVert^2} \Big) \nabla f
        + \frac{L_0 - L}{\lVert \nabla L \rVert^2} \nabla L

    whose second part we repeat, with the gradient anew, until the loss is back. For the gradient norm
    :math:`\nabla f = 2 H \nabla L` is one Hessian-vector product. It reaches the whole level set and not only the
    orbit, at the price of passes; the loss stays on this minibatch only, within the tolerance, and steps that leave
    it, or do not improve the objective, are taken back.

    The radius bounds the distance travelled relative to the length of all parameters,
    :math:`\lVert w' - w \rVert \le r \lVert w \rVert`.

    Attributes:
        steps: Evaluations of the objective's gradient, after the first one; each step also takes one gradient of
            the loss, and one more per correction.
        rate: The :math:`\rho` above; None makes every step as long as the radius / steps allows.
        corrections: Newton steps back to the level set, at most, after every step.
        tolerance: Relative change of the loss that may remain.

    References:
        Mishkin, Bietti and Gower (2024), Level Set Teleportation, arXiv:2403.03362. Differs: derived here; the length
        of a step comes from the radius, the penalty and line search of the merit function are replaced by
        corrections and halving.
    """

    steps: int = 10
    rate: float | None = None
    corrections: int = 2
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_counts(self, "steps")
        check_counts(self, "corrections", least=0)
        check_rate(self)
        if not is_size(self.tolerance):
            raise ValueError(
                "LevelSetAscent: tolerance must be a number that is not negative, the relative change of the loss that "
                f"may remain; got {self.tolerance!r}; 1e-3 is the default."
            )

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Also, steps must have a length; see `Displacement.check`."""
        super().check(objective, symmetries, radius, loss)
        check_length(type(self).__name__, radius, self.rate)

    def displaced(
        self, objective: Objective, symmetries: Sequence[Symmetry], point: Point, radius: float
    ) -> Solution:
        """Find new parameters on the level set; see `Solver.solve`.

        Raises:
            ValueError: If there is no loss, or steps have no length.
        """
        landscape = Landscape(objective, point, "LevelSetAscent")
        here = landscape.here
        level, start = landscape.gradient(here)
        noise = rounding(point)
        unit = norm(here) or 1.0

        def tangent(place: Place) -> tuple[Tensor, Vector]:
            w, gradient = place
            value, slope = landscape.slope(w)
            square = dot(gradient, gradient)
            found = plus(slope, -dot(slope, gradient) / square, gradient) if square > 0.0 else slope
            # What the loss itself would give is rounding, and has no direction.
            return value, found if norm(found) > noise * norm(slope) else plus(found, -1.0, found)

        def step(place: Place, slope: Vector, multiple: float) -> Place | None:
            new = self._restored(landscape, plus(place[0], multiple, slope), level)
            return None if new is None or norm(plus(new[0], -1.0, here)) > radius * unit else new

        end = climb(
            (here, start),
            tangent,
            step,
            lambda slope: norm(slope) / unit,
            steps=self.steps,
            radius=radius,
            rate=self.rate,
            lower=objective.lower,
            noise=Noise.of(point, objective, noise),
        )
        w = end.state[0]
        return Solution(
            [None] * len(symmetries),
            end.before,
            end.after,
            end.before.new_tensor(norm(plus(w, -1.0, here)) / unit),
            displaced=w if end.moved else None,
            skipped=None if end.moved else CONSTANT,
        )

    def _restored(self, landscape: Landscape, w: Vector, level: Tensor) -> Place | None:
        """The point of the level set that Newton steps along the gradient lead to, if they do, and the gradient."""
        size = abs(float(level))
        bound = self.tolerance * size if self.tolerance < inf else inf
        near = 1e-3 * min(self.tolerance, 1e-3) * size
        for left in range(self.corrections, -1, -1):
            loss, gradient = landscape.gradient(w)
            excess, square = float(loss - level), dot(gradient, gradient)
            if abs(excess) <= near or left == 0 or not square > 0.0:
                return (w, gradient) if abs(excess) <= bound else None
            w = plus(w, -excess / square, gradient)
        return None
