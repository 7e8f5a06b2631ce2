"""Ascent of the gradient norm, or any measure, over data-dependent elements, within what these and weights may do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from typing import Any, Literal

import torch
from torch import Tensor

from isoloss.dependent import _damping
from isoloss.dependent._chain import Chain
from isoloss.dependent._evaluated import Evaluated, Measure
from isoloss.dependent._gradient_norm import GradientNorm
from isoloss.dependent._level import Level, stepped
from isoloss.dependent._pair import Pair
from isoloss.dependent._recursion import Recursion, There
from isoloss.dependent._site import Site, Trace

# Relative change of the loss that may remain where it is brought back by Newton steps.
LEVEL = 1e-9

# How often a search that has led too far is drawn back by half, before it stays where it was.
HALVINGS = 8

# By how much of the radius Newton steps of the loss may lead beyond it.
SLACK = 1e-2

# Share of the way to its bound that a matrix may have gone when the elements have gone all of theirs. The rest is left
# for the last step, at whose end no fit is seen, and for the Newton steps.
SHARE = 0.8

Keep = Literal["outputs", "loss"]


@dataclass(frozen=True)
class Slopes:
    """The objective and the loss at some elements, with their derivatives over these.

    Attributes:
        value: Half of the squared gradient norm, or the measure; not a number if it was not asked for.
        loss: The loss.
        slopes: Derivatives of the value, one tensor per pair.
        tilts: Derivatives of the loss; None if no element changes it, or if they were not asked for.
        reach: Largest change of a matrix, as a fraction of what is allowed.
        there: The network.
    """

    value: float
    loss: float | Tensor
    slopes: list[Tensor]
    tilts: list[Tensor] | None
    reach: float
    there: There

    @property
    def level(self) -> Level | None:
        """The direction along which the loss changes, if any element changes it."""
        return None if self.tilts is None else Level.of(self.tilts)


@dataclass(frozen=True)
class Arrival:
    """Where a search has led.

    Attributes:
        thetas: The elements.
        matrices: The moved weights of every layer that moves, by position in the chain.
        before: Half of the squared gradient norm at the identity, or the measure.
        value: The same there, with these weights.
        loss: The loss there.
        reach: Largest change of a matrix, as a fraction of what is allowed.
    """

    thetas: list[Tensor]
    matrices: dict[int, Tensor]
    before: float
    value: float
    loss: float
    reach: float


class Search:
    r"""Steepest ascent of the gradient norm over :math:`g_m = 1 + \Theta_m Q_m^T`, one :math:`\Theta_m` per pair.

    The columns of :math:`Q_m` span the pre-activations of the batch: what g does to other directions the batch does
    not see. The derivative in the weights is H times the gradient, one Hessian-vector product; it is contracted in
    closed form with the velocity of the action, at the cost of one Cholesky factorization per fitted layer.

    Where a layer has more samples than weights to fit them, the loss moves to first order. Its derivative over the
    elements, which the same contraction gives, is then projected out of every step, and a Newton step along it takes
    the loss back to what it was.

    Any other measure is differentiated by the moved weights, and contracted by the same recursion. Steps that do not
    improve it are taken back and halved.

    No matrix moves by more than :math:`\|W' - W\|_F \le (e^{nr} - 1) \|W\|_F`, where n is the number of pairs that it
    belongs to and r the radius: what n elements can do to it by multiplication from the left and from the right.
    Fits, which are ill-conditioned where there are about as many samples as weights, do not have it. They are damped,

    .. math:: U = \operatorname{argmin}_U \|U x - Y\|^2 + \lambda \|U - W\|^2,

    each as little as it takes. Only where all layers have no more samples than weights, and independent ones, they are
    fitted exactly, outputs are kept, and steps that lead out of bounds are halved.

    Args:
        chain: The model on a batch.
        found: The pairs that may move.
        lower: Descend instead.
        weights: Factors of the squared norms of the gradients, by the names of the weights; where there is none the
            layer does not count. None counts every trained layer once. A bias counts like its weight.
        keep: "outputs" fits exactly if no layer has more samples than weights; "loss" damps those fits, too, where
            they would go out of bounds, so that only the loss stays.
        measure: What to raise in the place of the gradient norm: any differentiable function of the parameters.

    References:
        docs/dependent.md, "The search". Differs from Algorithm 1 of the dissertation in all but the idea.
    """

    def __init__(
        self,
        chain: Chain,
        found: Sequence[Pair],
        lower: bool = False,
        weights: Mapping[str, float] | None = None,
        keep: Keep = "outputs",
        measure: Measure | None = None,
    ):
        self._chain, self._sign = chain, -1.0 if lower else 1.0
        self.recursion = Recursion(chain, found, weights)
        self._objective = (
            GradientNorm(self.recursion) if measure is None else Evaluated(self.recursion, measure)
        )
        self._sites, self._keep, self._measured = self.recursion.sites, keep, measure is not None
        self.start, self.changes = self.recursion.start, self.recursion.changes
        self._allowed = [inf] * len(self._sites)

    @torch.no_grad()
    def ascend(self, radius: float, steps: int) -> "Arrival":
        """Steps of equal length.

        Args:
            radius: Bound on the Frobenius norm, hence on the spectral norm, of g - 1, for every pair.
            steps: Number of steps.

        Returns:
            Where they have led, drawn back by halves until that is allowed and better; else the identity. Without
            matrices and a value if something here is not finite.
        """
        home = {i: s.matrix for i, s in enumerate(self._sites) if s.moves}
        if not all(bool(t.isfinite().all()) for s in self._sites for t in (s.stage.rows, s.matrix)):
            return Arrival(self.start(), {}, nan, nan, self._chain.loss, 0.0)
        self._allowed = [(1.0 - radius) ** -s.sides - 1.0 if radius < 1.0 else inf for s in self._sites]
        self.recursion.damp(dict.fromkeys(range(len(self._sites)), 0.0))
        first, length = self._first(self._sign * radius / steps, SHARE / steps)
        thetas = reached = self.start()
        here, level = first, first.level
        for n in range(steps):
            found = self.slopes(thetas, slopes_only=True) if n else first
            if n and found.reach > SHARE * n / steps and self._damp(thetas, SHARE * n / steps)[0]:
                found = self.slopes(thetas)
                level = found.level
            # What rounding alone does to a fit is let pass.
            if n == 0 or (
                found.reach <= max(1.0, 2.0 * first.reach) and not self._worse(found.value, here.value)
            ):
                reached, here = thetas, found
            else:
                length *= 0.5
            missing = 0.0 if level is None else float(first.loss) - float(here.loss)
            further = stepped(reached, here.slopes, length, level, missing)
            if further is None:
                break
            thetas = further
        if self._measured and self._worse(self.value(thetas)[0], here.value):
            thetas = reached
        thetas = [_within(t, radius) for t in thetas]
        for _ in range(HALVINGS):
            there = self._levelled(thetas, level)
            if self._allows(there, radius) and self._sign * there.value > self._sign * first.value:
                return replace(there, before=first.value)
            thetas = [0.5 * t for t in thetas]
            if level is not None and isfinite(there.value):
                # The loss bends: what was its slope at first may not lead back.
                level = self.slopes(thetas).level or level
        return Arrival(self.start(), home, first.value, first.value, self._chain.loss, 0.0)

    @torch.no_grad()
    def value(self, thetas: Sequence[Tensor]) -> tuple[float, float]:
        """What is raised (half of the squared gradient norm, if there is no measure), and the loss."""
        return self._objective.value(self.recursion.at(thetas, whole=self._objective.whole))

    @torch.no_grad()
    def slopes(self, thetas: Sequence[Tensor], slopes_only: bool = False) -> Slopes:
        """The objective, the loss and their derivatives.

        Args:
            thetas: The elements.
            slopes_only: Leave out the derivative of the loss, and the gradient norm, which costs more.
        """
        objective: Any = self._objective
        there = self.recursion.at(thetas, whole=objective.whole)
        slopes, along = objective.slopes(there, thetas)
        reach = self._reach(there.traces)
        if slopes_only:
            value = objective.value_along(there, along)[0] if self._measured else nan
            return Slopes(value, there.loss, slopes, None, reach, there)
        tilts = None
        if not self.recursion.exact:
            tilts = self.recursion.slopes(there, thetas, there.traces[-1].delta)
        value, loss = objective.value_along(there, along)
        return Slopes(value, loss, slopes, tilts, reach, there)

    @torch.no_grad()
    def arrive(self, thetas: list[Tensor]) -> "Arrival":
        """Fit the moved network anew, by rank in float64."""
        there = self.recursion.at(thetas, exactly=True)
        value, loss = self._objective.value(there)
        moves = {i: t.w for i, t in enumerate(there.traces) if self._sites[i].moves}
        return Arrival(thetas, moves, value, value, loss, self._reach(there.traces))

    def _first(self, length: float, share: float) -> tuple[Slopes, float]:
        """The slopes at the identity, and the length of a step, with fits damped for a first step within its share."""
        start = self.start()
        first = self.slopes(start)
        dependent = {
            i: _damping.floor(trace)
            for i, (site, trace) in enumerate(zip(self._sites, first.there.traces, strict=True))
            if _damping.deficient(site, trace)
        }
        if dependent:
            self.recursion.damp(dependent)
            first = self.slopes(start)
        if not any(self._may_damp(site) for site in self._sites):
            return first, length
        thetas = stepped(start, first.slopes, length, first.level, 0.0)
        damped, excess = (False, 1.0) if thetas is None else self._damp(thetas, share)
        return self.slopes(start) if damped else first, length / excess

    def _worse(self, value: float, than: float) -> bool:
        """Did a step lead to where a measure is no better? It may have an optimum; the gradient norm has none."""
        return self._measured and not self._sign * value > self._sign * than

    def _may_damp(self, site: Site) -> bool:
        """Is it fitted, and are outputs not kept, whether they cannot be or need not be?"""
        return site.reads and (self._keep == "loss" or not self.recursion.exact)

    def _damp(self, thetas: Sequence[Tensor], share: float) -> tuple[bool, float]:
        """Damp fits whose matrix has gone beyond a share of its bound.

        Args:
            thetas: The elements.
            share: Share of the bound.

        Returns:
            Is any fit damped more than before, and by which factor does a matrix still go too far, at least 1?
        """
        more: dict[int, float] = {}
        excess, x = 1.0, self._sites[0].stage.columns
        for i, site in enumerate(self._sites):
            theta, allowed = self.recursion.theta(site, thetas), self._allowed[i]
            trace = site.fitted(x, theta, bottom=i == 0)
            if self._may_damp(site) and 0.0 < allowed < inf:
                limit = share * allowed * site.size
                if not bool(torch.linalg.vector_norm(trace.w - site.matrix) <= limit):
                    damping = _damping.least(site, x, theta, limit)
                    if damping > site.damping:
                        more[i] = damping
                        site = site.damped(damping, site.still)
                        trace = site.fitted(x, theta, bottom=False)
                    excess = max(excess, float(torch.linalg.vector_norm(trace.w - site.matrix) / limit))
            if i + 1 < len(self._sites):
                x = site.above.value(trace.z)
        self.recursion.damp(more)
        return bool(more), excess

    def _reach(self, traces: list[Trace]) -> float:
        """Largest change of a matrix as a fraction of what is allowed; not a number if one is not finite."""
        changes = [
            torch.linalg.vector_norm(t.w - s.matrix) / (a * s.size)
            for s, t, a in zip(self._sites, traces, self._allowed, strict=True)
            if t.w is not s.matrix and a > 0.0
        ]
        return float(torch.stack(changes).amax()) if changes else 0.0

    def _allows(self, there: Arrival, radius: float) -> bool:
        """Is all finite, no matrix or element farther than allowed, and the loss what it was?"""
        if not isfinite(there.value) or not there.reach <= 1.0:
            return False
        longest = max(float(torch.linalg.vector_norm(t)) for t in there.thetas)
        if not longest <= radius * (1.0 + SLACK * (1.0 - radius)):
            return False
        eps = max(torch.finfo(s.stage.layer.weight.dtype).eps for s in self._sites)
        bound = eps**0.5 if self.recursion.exact else max(LEVEL, 16 * eps)
        return abs(there.loss - self._chain.loss) <= bound * abs(self._chain.loss)

    def _levelled(self, thetas: list[Tensor], level: Level | None, rounds: int = 6) -> "Arrival":
        """Arrive, and correct thetas, in some rounds, until the loss is what it was, to LEVEL or four roundings."""
        tolerance = max(LEVEL, 4 * torch.finfo(thetas[0].dtype).eps) * abs(self._chain.loss)
        there = self.arrive(thetas)
        rate = 1.0  # Newton's step first, then secants, for far from the identity the loss has another slope
        for _ in range(rounds):
            missing = self._chain.loss - there.loss
            if level is None or not there.reach <= 1.0 or not tolerance < abs(missing) < inf:
                break
            step = rate * missing
            there = self.arrive(level.shifted(there.thetas, step))
            found = there.loss - (self._chain.loss - missing)
            rate = min(max(step / found, rate / 4), 4 * rate) if step * found > 0.0 else 1.0
        return there


def _within(theta: Tensor, radius: float) -> Tensor:
    length = torch.linalg.vector_norm(theta)
    return theta * (radius / length.clamp_min(max(radius, torch.finfo(theta.dtype).tiny)))
