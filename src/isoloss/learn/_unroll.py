"""The training of many optimizees, as a differentiable function of the meta-optimizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import grad_and_value, jvp, vmap

from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn._teleport import Jump, jump, moved, only_through, propose, times
from isoloss.learn._tensors import Tensors
from isoloss.learn.tasks import Tasks


@dataclass(frozen=True, eq=False)
class Point:
    """Where n optimizees are, and what the meta-optimizer remembers of them.

    Attributes:
        weights: (n, P).
        state: The memory.
        step: Steps taken.
    """

    weights: Tensor
    state: State
    step: int = 0

    def cut(self) -> "Point":
        """The same values, cut from the graph."""
        return Point(self.weights.detach(), {k: v.detach() for k, v in self.state.items()}, self.step)


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


class Loop:
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
    ):
        self.meta, self.tasks, self.layout = meta, tasks, layout
        self.second_order, self.record, self.rate = second_order, record, rate
        self.actions = tuple(tasks.actions) if "tele" in meta.design.variant and not identity else ()
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
        weights, state, step = point.weights, point.state, point.step
        losses: list[Tensor] = []
        jumps: dict[int, Record] = {}
        rates: list[Tensor] = []
        before = self.meta.design.order == "before"
        for i, data in enumerate(batches):
            jumping = bool(self.actions) and self.meta.design.jumps(step)
            value, gradient = self._gradient(weights, data)
            if i:
                losses.append(value)
            if jumping and before:
                # What is seen here decides the element only: what is remembered is the gradient after the teleport.
                seen, _ = self.meta.see(self.layout, self._cut(weights), gradient, state)
                weights, state, told = self._teleported(weights, data, seen, state)
                value, after = self._gradient(weights, data)
                if self.record:
                    jumps[step] = told.record(gradient, after)
                gradient = after
            seen, state = self.meta.see(self.layout, self._cut(weights), gradient, state)
            move, state = self.meta.move(seen, state)
            if self.rate is not None:
                move = -self.rate * gradient
            weights = weights + move
            if self.record:
                rates.append(move.norm(dim=1) / gradient.norm(dim=1))
            if jumping and not before:
                here = weights
                weights, state, told = self._teleported(weights, data, seen, state)
                if self.record:
                    jumps[step] = told.record(self._gradient(here, data)[1], self._gradient(weights, data)[1])
            step += 1
        losses.append(self._gradient(weights, batches[-1] if ahead is None else ahead)[0])
        return Unrolled(torch.stack(losses), Point(weights, state, step), jumps, rates)

    def _gradient(self, weights: Tensor, data: Tensors) -> tuple[Tensor, Tensor]:
        """Losses (n,), differentiable in the weights, and gradients (n, P)."""
        slopes, value = self._slope(self.layout.unflatten(self._cut(weights)), data)
        gradient = self.layout.flatten(slopes)
        if self.second_order:
            return value, gradient
        # The gradient is known already: the loss as a linear function of the weights has the same derivative.
        return value + ((weights - weights.detach()) * gradient).sum(1), gradient

    def _teleported(
        self, weights: Tensor, data: Tensors, seen: Observation, state: State
    ) -> tuple[Tensor, State, "_Told"]:
        meta, design = self.meta, self.meta.design
        here = seen.gradient if design.order == "before" else self._gradient(self._cut(weights), data)[1]
        proposals = propose(design, self.actions, self.tasks.loss, self.layout, weights, data, here)
        elements, state = meta.elements(seen, state, self.actions, proposals)

        def act(weights: Tensor) -> Jump:
            return jump(design, self.actions, self.tasks.loss, self.layout, weights, data, elements)

        there = act(weights)
        if design.velocity == "push" and "velocity" in state:
            state["velocity"] = self._pushed(weights, data, elements, there, state["velocity"])
        change = torch.zeros_like(weights[:, 0])
        if self.record:
            old, new = (
                vmap(self.tasks.loss)(self.layout.unflatten(w), data) for w in (weights, there.weights)
            )
            change = (new - old) / old.abs()
        return there.weights, state, _Told(there, change)

    def _pushed(self, weights: Tensor, data: Tensors, elements, there: Jump, velocity: Tensor) -> Tensor:
        """The velocity carried along by the derivative of the action."""
        design, taken = self.meta.design, [times(a, there.taken) for a in elements]
        kept = (there.taken > 0)[:, None]
        move = lambda w: moved(design, self.actions, self.layout, w, data, taken)  # noqa: E731
        inside, along = only_through(kept, weights), only_through(kept, velocity)
        return torch.where(kept, jvp(move, (inside,), (along,))[1], velocity)

    def _cut(self, weights: Tensor) -> Tensor:
        return weights if self.second_order else weights.detach()


@dataclass(frozen=True, eq=False)
class _Told:
    there: Jump
    change: Tensor

    def record(self, before: Tensor, after: Tensor) -> Record:
        return Record(after.norm(dim=1) / before.norm(dim=1), self.change, self.there.sizes)
