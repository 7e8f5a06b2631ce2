"""Curves on the level set along exact symmetries: exp(t log g) . w."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from isoloss.connect._action import flow
from isoloss.connect._factors import Component, factors
from isoloss.connect._parameters import check_symmetries
from isoloss.connect._path import SmoothPath, Tensors
from isoloss.symmetry import Symmetries, Symmetry


@dataclass(frozen=True)
class Step:
    """One symmetry's part in a curve.

    Attributes:
        symmetry: What acts.
        algebra: Its algebra elements, in the order in which their exponentials act; none if it does not move.
        reflection: What acts before them at all times; None for the identity.
    """

    symmetry: Symmetry
    algebra: tuple[Tensor, ...] = field(repr=False)
    reflection: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class OrbitCurve(SmoothPath):
    r"""A curve on the level set from one point of an orbit to another.

    .. math:: \gamma(t) = \exp(t \log g_m) \cdots \exp(t \log g_1) \cdot w

    For one symmetry it is Eq. (3.5), and a one-parameter subgroup; for several that do not commute it is a product of
    such, which keeps the loss just as well.

    Attributes:
        point: The parameters before reflections, by name.
        steps: What acts, first to last.

    References:
        Dissertation, Eqs. (3.4) and (3.5).
    """

    point: Tensors = field(repr=False)
    steps: tuple[Step, ...]

    @property
    def reflected(self) -> bool:
        """Does the curve start at another point of the orbit, because the ends lie in different components?"""
        return any(s.reflection is not None for s in self.steps)

    def _at(self, t: Tensor, point: Tensors) -> Tensors:
        moved: Tensors = {}
        for step in self.steps:
            if step.reflection is not None:
                moved |= step.symmetry.act(step.reflection, point | moved)
            for a in step.algebra:
                moved |= flow(step.symmetry, a, t, point | moved)
        return moved


def along(
    point: Tensors,
    symmetries: Symmetries,
    elements: Sequence[Tensor | None],
    component: Component,
    where: str,
) -> OrbitCurve:
    """The curve from a point along elements, one per symmetry; None moves nothing."""
    check_symmetries(where, symmetries, point)
    steps = []
    for s, g in symmetries._paired(elements):
        wide = g.double() if g.is_floating_point() else g
        f = factors(s.group, wide, component, f"{where}, on {s.parameters[0]}")
        if f.algebra or f.reflection is not None:
            steps.append(Step(s, f.algebra, f.reflection))
    return OrbitCurve(dict(point), tuple(steps))
