"""Gradient ascent in the Lie algebras of all symmetries at once, for any objective."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import ClassVar, Literal

import torch
from torch import Tensor

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._climb import climb
from isoloss.teleport._orbit import Elements, orbit
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_on_orbit
from isoloss.teleport.solvers._settings import check_counts, check_length, check_rate
from isoloss.teleport.solvers._solver import CONSTANT, Solution


@dataclass(frozen=True)
class LieAscent:
    r"""Climb on the orbit: at every step one gradient gives the slopes along all algebras, and all elements move.

    .. math:: T_i = \eta\, \mathrm{moment}_i(\nabla f(w_t), w_t), \qquad
        g_i \leftarrow \exp(T_i)\, g_i, \qquad w_{t+1} = g \cdot w_0

    A step that does not improve the objective is taken back and halved, so that the result is never worse than the
    start; an objective that is constant on the orbit gives the identity. Objectives that are sums of squares are
    carried along and cost no pass.

    Attributes:
        steps: Evaluations of the objective and its gradient, after the first one.
        rate: The :math:`\eta` of the papers. None makes every step radius / steps long, which needs no unit.
        metric: Which direction is steepest. "frobenius" is the gradient, as in the papers: the largest entry uses up
            the radius, and all others move less. "spectral" is steepest in the norm that the radius bounds: all
            singular directions move alike, by signs and polar factors, which gains more within the same radius.
        retraction: "exponential" is in the group for any T. "first-order" takes 1 + T (Cayley's transform for
            rotations), in the group for the small T that the radius allows: as exact, for less work.

    References:
        Dissertation, Algorithm 1 with section 4.6, and Algorithm 2. Differs: we start each step's algebra at the
        point reached (Algorithm 2 does, the first does not), contract one gradient with the generators instead of
        differentiating through exp, bound the path, and take back what does not improve. For the published 1 + T
        with 1 - T for its inverse, which leaves the group, see `TangentAscent`.
    """

    steps: int = 10
    rate: float | None = None
    metric: Literal["frobenius", "spectral"] = "frobenius"
    retraction: Literal["exponential", "first-order"] = "exponential"

    along_symmetries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        options = self.metric in ("frobenius", "spectral") and self.retraction in (
            "exponential",
            "first-order",
        )
        if not options:
            raise ValueError(
                "LieAscent: metric must be frobenius or spectral, and retraction exponential or first-order; "
                f"got {self.metric!r} and {self.retraction!r}; 1 - T is in TangentAscent."
            )
        check_counts(self, "steps")
        check_rate(self)

    def uses(self, symmetry: Symmetry) -> bool:
        """Every continuous group but translations, along which a length would have the unit of a parameter.

        A discovered symmetry's elements are coefficients of fields: the radius bounds the largest.
        """
        return moves_by_a_length(symmetry)

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`."""
        check_on_orbit(objective, loss, "LieAscent")
        check_length("LieAscent", radius, self.rate)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find elements; the radius bounds the length of the whole path. See `Solver.solve`.

        Raises:
            ValueError: If the objective must be evaluated and there is no loss, or steps have no length.
        """
        landscape = orbit(objective, symmetries, scalings, point)
        chosen = [symmetries[i] for i in landscape.members]

        def advance(elements: Elements, slopes: list[Tensor], multiple: float) -> Elements:
            new = list(elements)
            for i, symmetry, slope in zip(landscape.members, chosen, slopes, strict=True):
                step, here = self._element(symmetry, multiple * slope), elements[i]
                new[i] = step if here is None else symmetry.group.compose(step, here)
            return new

        def at(elements: Elements) -> tuple[Tensor, list[Tensor]]:
            value, slopes = landscape.slopes(elements)
            if self.metric == "spectral" and finite(slopes):
                slopes = [s.group.steepest(m) for s, m in zip(chosen, slopes, strict=True)]
            return value, slopes

        end = climb(
            list[Tensor | None]([None] * len(symmetries)),
            at,
            advance,
            lambda slopes: largest(chosen, slopes),
            steps=self.steps,
            radius=radius,
            rate=self.rate,
            lower=objective.lower,
            noise=landscape.noise,
        )
        return Solution(
            end.state,
            end.before,
            end.after,
            end.before.new_tensor(end.length),
            transported=landscape.transported,
            skipped=None if end.moved else CONSTANT,
        )

    def _element(self, symmetry: Symmetry, a: Tensor) -> Tensor:
        if self.retraction == "exponential":
            return symmetry.group.exp(a)
        # The singular values of 1 + T are at least 1 - |T|: shorten T until that is exp(-|a|).
        length = symmetry.group.norm(a)
        short = torch.where(length > 0, -torch.expm1(-length) / length, 1.0)
        return symmetry.group.retract(short.reshape(*short.shape, *(1,) * (a.dim() - short.dim())) * a)


def moves_by_a_length(symmetry: Symmetry) -> bool:
    """Is it continuous, and is the spectral norm of its algebra a number without unit?"""
    return symmetry.group.dim > 0 and symmetry.dimensionless


def finite(tensors: Sequence[Tensor]) -> bool:
    """Are all entries finite? Singular values are not to be had otherwise."""
    return all(bool(t.isfinite().all()) for t in tensors)


def largest(symmetries: Sequence[Symmetry], algebra: Sequence[Tensor]) -> float:
    """Largest spectral norm among algebra elements, one per symmetry; nan if one is not finite."""
    if not finite(algebra):
        return nan
    norms = [s.group.norm(a).amax() for s, a in zip(symmetries, algebra, strict=True) if a.numel()]
    return torch.stack([n.double().cpu() for n in norms]).amax().item() if norms else 0.0
