"""The training of many optimizees, as a differentiable function of the meta-optimizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from isoloss.learn._flat import Layout
from isoloss.learn._limit import limited
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._step import Point, Stepper, Teleported
from isoloss.learn._tensors import Tensors
from isoloss.learn.tasks import Tasks


@dataclass(frozen=True, eq=False)
class Unrolled:
    """Some steps of n optimizees.

    Attributes:
        losses: After every step, (steps, n), on the data that the next step sees; differentiable.
        end: Where they are now.
        jumps: What every teleport did, by step; recorded on request.
        rates: Length of the local step over that of the gradient, (n,) per step; recorded on request.
    """

    losses: Tensor
    end: Point
    jumps: dict[int, "Record"] = field(default_factory=dict)
    rates: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Record:
    """What a teleport of n optimizees did: gain of the gradient norm, relative change of the loss, size; all (n,)."""

    gain: Tensor
    change: Tensor
    size: Tensor


class Loop(Stepper):
    """The functional training loop of the optimizees of one distribution.

    All of them are trained together: losses, gradients and teleports are those of one optimizee under vmap, the
    meta-optimizer's networks see all at once.

    Args:
        meta: Chooses the steps.
        tasks: What they are taken on.
        layout: Of the optimizees' weights.
        second_order: Differentiate the gradients and weights that the meta-optimizer sees as well; else they count as
            constants, and so does all that is remembered of them. The directions of a teleport, and how far it may go,
            are constants either way.
        record: Keep what teleports and local steps did.
        identity: Leave out the teleports: the ablation of g_t.
        rate: Gradient descent at this rate in the place of the local update: the ablation of f_t.
        limit: Largest effect, of a change of one optimizee's weights by as much as its last step, on what is
            differentiated; larger slopes are shortened on their way back, one optimizee at a time.

    References:
        2025 paper, Algorithm 1; dissertation, Algorithm 3. Gradients as constants: Andrychowicz et al. 2016.
    """

    def __init__(
        self,
        meta: MetaOptimizer,
        tasks: Tasks,
        layout: Layout,
        *,
        second_order: bool = False,
        record: bool = False,
        identity: bool = False,
        rate: float | None = None,
        limit: float = inf,
    ):
        actions = tuple(tasks.actions) if "tele" in meta.design.variant and not identity else ()
        super().__init__(meta, layout, actions, tasks.loss)
        self.tasks, self.second_order, self.record, self.rate = tasks, second_order, record, rate
        self.limit = limit
        self._slope = vmap(grad_and_value(tasks.loss))

    def begin(self, parameters: Tensors) -> Point:
        """Where the optimizees start."""
        weights = self.layout.flatten(parameters)
        return Point(weights, self.meta.start(self.layout, weights, len(self.tasks.actions)))

    def losses(self, weights: Tensor, data: Tensors) -> Tensor:
        """Of all optimizees, (n,), without a graph."""
        with torch.no_grad():
            return vmap(self.tasks.loss)(self.layout.unflatten(weights), data)

    def run(self, point: Point, batches: Sequence[Tensors], ahead: Tensors | None = None) -> Unrolled:
        """As many steps as there are minibatches.

        Args:
            point: Where the optimizees are.
            batches: Data of every step, (n, *shape) by name.
            ahead: Data of the step after them, for the last loss; if None, those of the last step.

        Raises:
            ValueError: If there is no step to take.
        """
        if not batches:
            raise ValueError(
                "Loop: there must be a step to take; got no minibatches; pass one for each step."
            )
        losses: list[Tensor] = []
        jumps: dict[int, Record] = {}
        rates: list[Tensor] = []
        for i, data in enumerate(batches):
            value, gradient = self._gradient(point.weights, data)
            if i:
                losses.append(value)
            step = self.step(point, gradient, data)
            if self.record:
                rates.append(step.move.norm(dim=1) / step.gradient.norm(dim=1))
                if step.teleported is not None:
                    jumps[point.step] = self._record(step.teleported, data)
            point = step.end
            if self.limit < inf:
                length = step.move.detach().norm(dim=1).clamp_min(torch.finfo(step.move.dtype).tiny)
                point = Point(limited(point.weights, self.limit / length), point.state, point.step)
        losses.append(self._gradient(point.weights, batches[-1] if ahead is None else ahead)[0])
        return Unrolled(torch.stack(losses), point, jumps, rates)

    def gradient_at(self, weights: Tensor, data: Tensors) -> Tensor:
        """Computed."""
        return self._gradient(weights, data)[1]

    def gradient_after(self, teleported: Teleported, gradient: Tensor, data: Tensors) -> Tensor:
        """Computed anew."""
        return self._gradient(teleported.there.weights, data)[1]

    def local(self, move: Tensor, gradient: Tensor) -> Tensor:
        """The move, unless it is ablated."""
        return move if self.rate is None else -self.rate * gradient

    def cut(self, weights: Tensor) -> Tensor:
        """The weights, with their graph if gradients are differentiated."""
        return weights if self.second_order else weights.detach()

    def _gradient(self, weights: Tensor, data: Tensors) -> tuple[Tensor, Tensor]:
        """Losses (n,), differentiable in the weights, and gradients (n, P)."""
        slopes, value = self._slope(self.layout.unflatten(self.cut(weights)), data)
        gradient = self.layout.flatten(slopes)
        if self.second_order:
            return value, gradient
        # The gradient is known already: the loss as a linear function of the weights has the same derivative.
        return value + ((weights - weights.detach()) * gradient).sum(1), gradient

    def _record(self, teleported: Teleported, data: Tensors) -> Record:
        here, there = teleported.here, teleported.there
        norms = [self._gradient(w, data)[1].norm(dim=1) for w in (here, there.weights)]
        old, new = (self.losses(w, data) for w in (here, there.weights))
        return Record(norms[1] / norms[0], (new - old) / old.abs(), there.sizes)
