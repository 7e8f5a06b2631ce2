"""The best point of the level set of a quadratic loss, in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._landscape import Landscape, Vector
from isoloss.teleport._noise import rounding
from isoloss.teleport._point import Point
from isoloss.teleport.objectives import GradientNorm, Objective
from isoloss.teleport.solvers._displacement import Displacement
from isoloss.teleport.solvers._settings import check_counts
from isoloss.teleport.solvers._solver import SWITCHED_OFF, Solution


@dataclass(frozen=True)
class QuadraticForm(Displacement):
    r"""Jump to where the gradient of a quadratic loss is largest on its level set: an eigenvector of the Hessian.

    .. math:: L(w) = L^* + \tfrac12 (w - w^*)^T A (w - w^*), \qquad
        w' = w^* \pm \sqrt{2 (L - L^*) / \lambda}\; v, \quad A v = \lambda v

    with the largest eigenvalue to raise the gradient norm, and the smallest positive one to lower it. There the
    gradient points at the minimum, and gradient flow stays on that line: one teleport is enough (Prop. 4.5.7), and
    no point of the level set is nearer to the minimum (Prop. 4.5.8). The sign is that of the nearer of the two.
    The orbit of O(n), Eq. (4.33), is the whole level set (Lemma 4.5.5), so this is a symmetry teleport; no radius
    bounds it. A loss that is not quadratic is recognized by its value at w', and nothing is moved.

    Attributes:
        largest: Number of parameters up to which the Hessian is formed, in float64.

    References:
        Dissertation, Lemma 4.5.6 and Propositions 4.5.7, 4.5.8.
    """

    largest: int = 2000

    def __post_init__(self) -> None:
        check_counts(self, "largest")

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Also, there is a closed form for the gradient norm only; see `Displacement.check`.

        Raises:
            TypeError: If the objective is another one.
        """
        super().check(objective, symmetries, radius, loss)
        _gradient_norm(objective)

    def displaced(
        self, objective: Objective, symmetries: Sequence[Symmetry], point: Point, radius: float
    ) -> Solution:
        """Find the point; see `Solver.solve`. The radius is not used, but 0 switches it off.

        Raises:
            TypeError: If the objective is not the gradient norm.
            ValueError: If there is no loss, or there are too many parameters, or several learning rates.
        """
        if weights := _gradient_norm(objective).form(point).weights:
            raise ValueError(
                f"QuadraticForm: all parameters must have one learning rate, for the norm has no weights; got relative "
                f"rates {sorted(set(weights.values()))}; choose LevelSetAscent."
            )
        landscape = Landscape(objective, point, "QuadraticForm")
        here = landscape.here
        w = torch.cat([t.double().reshape(-1) for t in here.values()])
        if len(w) > self.largest:
            raise ValueError(
                f"QuadraticForm: the Hessian of at most {self.largest} parameters is formed; got {len(w)}; "
                "raise largest, or choose LevelSetAscent."
            )
        before = _squared(landscape.gradient(here)[1])
        skip = Solution([None] * len(symmetries), before, before, torch.zeros_like(before))
        if not radius > 0.0:
            return _skipped(skip, SWITCHED_OFF)
        loss, gradient, hessian = _derivatives(landscape, here, w)
        if not hessian.isfinite().all():
            return _skipped(skip, "the Hessian is not finite")
        values, vectors = torch.linalg.eigh(hessian)
        # Flat directions have eigenvalues of rounding, and no part in the gradient of a quadratic loss.
        noise = len(w) * rounding(point) * values.abs().amax()
        steep = values > noise
        if not steep.any() or values[0] < -noise:
            return _skipped(skip, "the level set of the loss is no ellipsoid: its Hessian is not positive")
        relative = torch.where(steep, vectors.mT @ gradient / torch.where(steep, values, 1.0), 0.0)
        height = 0.5 * (values * relative.square())[steep].sum()
        k = int(steep.nonzero()[0 if objective.lower else -1])
        there = torch.zeros_like(relative)
        there[k] = torch.copysign((2 * height / values[k]).sqrt(), relative[k])
        new = _named(w + vectors @ (there - relative), here)
        found, slope = landscape.gradient(new)
        if not abs(float(found - loss)) <= rounding(point) * max(abs(float(loss)), float(height)):
            return _skipped(skip, "the loss is not quadratic in the parameters")
        size = torch.linalg.vector_norm(there - relative) / torch.linalg.vector_norm(w).clamp_min(1e-300)
        return Solution(skip.elements, before, _squared(slope), size.to(before), displaced=new)


def _gradient_norm(objective: Objective) -> GradientNorm:
    """The objective itself.

    Raises:
        TypeError: If it is another one.
    """
    if not isinstance(objective, GradientNorm):
        raise TypeError(
            f"QuadraticForm: the objective must be GradientNorm(), for which there is a closed form; "
            f"got {type(objective).__name__}; choose another solver."
        )
    return objective


def _derivatives(landscape: Landscape, here: Vector, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, gradient and Hessian with respect to all parameters as one vector, in float64."""
    loss = landscape.point.loss_for("QuadraticForm")

    def of(flat: Tensor) -> Tensor:
        return loss(_named(flat, here)).double()

    with torch.enable_grad():
        leaf = w.clone().requires_grad_()
        value = of(leaf)
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        rows = [
            torch.autograd.grad(g, leaf, retain_graph=True)[0] if g.requires_grad else torch.zeros_like(leaf)
            for g in gradient
        ]
    hessian = torch.stack(rows)
    return value.detach(), gradient.detach(), (hessian + hessian.mT) / 2


def _named(flat: Tensor, like: Vector) -> Vector:
    parts = flat.split([t.numel() for t in like.values()])
    return {n: p.view(t.shape).to(t.dtype) for (n, t), p in zip(like.items(), parts, strict=True)}


def _squared(gradient: Vector) -> Tensor:
    return torch.stack([g.double().square().sum() for g in gradient.values()]).sum()


def _skipped(solution: Solution, why: str) -> Solution:
    return Solution(solution.elements, solution.before, solution.before, solution.size, skipped=why)
