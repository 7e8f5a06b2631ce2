"""Ascent over data-dependent elements: GL(h) for every hidden layer, for the batch of this step."""

from collections.abc import Sequence
from math import inf, log1p
from typing import ClassVar, Literal

import torch
from torch import nn

from isoloss.dependent import Pair, pair_of, search
from isoloss.dependent._teleport import NOWHERE
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._landscape import Landscape
from isoloss.teleport._noise import Noise, rounding
from isoloss.teleport._point import Point
from isoloss.teleport.objectives import GradientNorm, Objective
from isoloss.teleport.solvers._displacement import Displacement
from isoloss.teleport.solvers._settings import check_counts, check_finite
from isoloss.teleport.solvers._solver import CONSTANT, SWITCHED_OFF, Solution


class DependentAscent(Displacement):
    r"""Raise or lower an objective by data-dependent actions on all pairs of adjacent layers at once.

    The group is far larger than that of the exact symmetries, GL(h) whatever the activation, but the loss stays on
    the batch only: exactly with no more samples than units, to a tolerance otherwise, where the search follows the
    level set. On other data it changes; measure it, and bound it by `Teleport(max_loss_change=...)`, which sees the
    batch, or by a smaller radius. Gradients and momentum cannot be transported: gradients are computed anew.

    The gradient norm has a path of its own. Any other objective is evaluated at the moved weights and differentiated
    by them, :math:`C_l = \partial f / \partial W_l`; what the elements do to the weights, fits included, is contracted
    with that in closed form. A `Mahalanobis` norm is the one with the preconditioner as it is here.

    The radius r bounds log g of every pair in the spectral norm, and the change of every matrix W, bias included, by
    (exp(n r) - 1) |W| in the Frobenius norm, where n, 1 or 2, is the number of pairs that it belongs to.

    Args:
        symmetries: Those of the model; None takes those that `Teleport` gets.
        steps: Steps of the ascent; each is a slope of the objective (for the gradient norm a Hessian-vector product)
            and a factorization per layer.
        keep: Of the batch: "outputs" where that can be, with at most as many samples as weights of a unit; or only
            the "loss", with larger elements. See `isoloss.dependent.teleport_`.

    References:
        Dissertation, Algorithm 1 with the action of Eq. (4.16). Differs: see docs/dependent.md.
    """

    along_symmetries: ClassVar[bool] = True

    def __init__(
        self,
        symmetries: Symmetries | None = None,
        steps: int = 10,
        keep: Literal["outputs", "loss"] = "outputs",
    ):
        if not isinstance(symmetries, Symmetries | None):
            raise ValueError(
                f"DependentAscent: symmetries must be Symmetries; got {type(symmetries).__name__}; "
                "pass what find() returned."
            )
        self._symmetries, self.steps = symmetries, steps
        self.keep: Literal["outputs", "loss"] = keep
        check_counts(self, "steps")

    def __repr__(self) -> str:
        return f"DependentAscent(steps={self.steps}, keep={self.keep!r})"

    def bound(self, symmetries: Symmetries) -> "DependentAscent":
        """The solver for a model, if it has none yet; see `Solver`."""
        return DependentAscent(symmetries, self.steps, self.keep) if self._symmetries is None else self

    def uses(self, symmetry: Symmetry) -> bool:
        """Permutations of the hidden units of two adjacent layers: they say which layers those are."""
        return self._pair(symmetry) is not None

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Also, the radius must be finite, and the symmetries those of this model; see `Displacement.check`.

        Raises:
            ValueError: If they are not.
        """
        super().check(objective, symmetries, radius, loss)
        check_finite("DependentAscent", radius)
        if symmetries.model is not self._model:
            raise ValueError(
                "DependentAscent: the symmetries must be those that Teleport gets; got those of another model; "
                "write Teleport(optimizer, symmetries, solver=DependentAscent())."
            )

    def displaced(
        self, objective: Objective, symmetries: Sequence[Symmetry], point: Point, radius: float
    ) -> Solution:
        """Find new values of the parameters within the radius; see `Solver.solve`.

        Raises:
            ValueError: If there is no loss, or no bound, or no model, or the objective cannot be evaluated.
        """
        if radius == inf:
            raise ValueError(
                "DependentAscent: the radius must be finite; got inf; give Teleport(radius=0.1)."
            )
        if self._symmetries is None:
            raise ValueError(
                "DependentAscent: it must know the model; got no symmetries; write DependentAscent(symmetries)."
            )
        loss = point.loss_for("DependentAscent")
        trained = point.rates.keys()
        found = [p for s in symmetries if (p := self._pair(s)) is not None and trained >= set(p.parameters)]
        elements: list[torch.Tensor | None] = [None] * len(symmetries)
        if not found or radius == 0.0:
            zero = torch.zeros(())
            reason = SWITCHED_OFF if found else "no pair of adjacent layers has all of its parameters trained"
            return Solution(elements, zero, zero, zero, skipped=reason)
        measure, weights = Landscape(objective, point, "DependentAscent"), {}
        if isinstance(objective, GradientNorm):
            measure, weights = None, objective.form(point).weights
        there = search(
            self._symmetries,
            lambda: loss({}),
            found=found,
            steps=self.steps,
            radius=radius,
            lower=objective.lower,
            keep=self.keep,
            weights={name: weights.get(name, 1.0) for name in trained},
            measure=measure,
        )
        gained = abs(there.after - there.before)
        noise = Noise.of(point, objective, rounding(point))
        constant = measure is not None and noise.hides(gained, there.before)
        if constant or there.size == 0.0:
            here = torch.tensor(there.before, dtype=torch.float64)
            reason = CONSTANT if constant else NOWHERE
            return Solution(elements, here, here, torch.zeros_like(here), skipped=reason)
        displaced = {n: new for layer, m in there.matrices.items() for n, new in layer.tensors(m).items()}
        # Singular values of g are at least 1 - |g - 1|: that is what bounds log g.
        numbers = torch.tensor([there.before, there.after, -log1p(-there.size)], dtype=torch.float64)
        return Solution(elements, *numbers.unbind(), displaced=displaced)

    @property
    def _model(self) -> nn.Module | None:
        return None if self._symmetries is None else self._symmetries.model

    def _pair(self, symmetry: Symmetry) -> Pair | None:
        return None if self._model is None else pair_of(symmetry, dict(self._model.named_modules()))
