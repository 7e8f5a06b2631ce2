"""One step of many optimizees: teleport, observation, local step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp

from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn._teleport import Jump, jump, moved, only_through, propose, times
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


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
class Teleported:
    """A teleport of n optimizees.

    Attributes:
        here: Weights before it, (n, P).
        there: What it led to.
        taken: The algebra elements that acted, per action (n, *algebra_shape), before they are bounded by the radius.
    """

    here: Tensor
    there: Jump
    taken: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of n optimizees.

    Attributes:
        end: Where they are now.
        gradient: That the local step saw, (n, P).
        move: The local step, (n, P).
        teleported: What the teleport did; None if there was none.
    """

    end: Point
    gradient: Tensor
    move: Tensor
    teleported: Teleported | None


class Stepper(ABC):
    """Takes steps of n optimizees; where losses and gradients come from is told by those who inherit it.

    Args:
        meta: Chooses the steps.
        layout: Of the optimizees' weights.
        actions: What teleports them.
        loss: Of one optimizee's weights and data; for directions.
    """

    def __init__(
        self,
        meta: MetaOptimizer,
        layout: Layout,
        actions: Sequence[Action],
        loss: Callable[[Tensors, Tensors], Tensor],
    ):
        self.meta, self.layout, self.actions, self.loss = meta, layout, tuple(actions), loss

    @abstractmethod
    def losses(self, weights: Tensor, data: Tensors) -> Tensor:
        """Of all optimizees, (n,), without a graph."""

    @abstractmethod
    def gradient_at(self, weights: Tensor, data: Tensors) -> Tensor:
        """The gradient (n, P), for directions, where it has not been seen."""

    @abstractmethod
    def gradient_after(self, teleported: Teleported, gradient: Tensor, data: Tensors) -> Tensor:
        """The gradient (n, P) where a teleport led, from that before it."""

    def local(self, move: Tensor, gradient: Tensor) -> Tensor:
        """What is added to the weights, when the meta-optimizer moves them so."""
        return move

    def cut(self, weights: Tensor) -> Tensor:
        """The weights, without the graph that observations are not to extend."""
        return weights.detach()

    def step(self, point: Point, gradient: Tensor, data: Tensors) -> Step:
        """Take one step.

        Args:
            point: Where the optimizees are.
            gradient: Of their losses there, (n, P).
            data: What the step sees, (n, *shape) by name.
        """
        weights, state, meta = point.weights, point.state, self.meta
        jumping = bool(self.actions) and meta.design.jumps(point.step)
        teleported = None
        if jumping and meta.design.order == "before":
            # What is seen here decides the element only: what is remembered is the gradient after the teleport.
            seen, _ = meta.see(self.layout, self.cut(weights), gradient, state)
            teleported, state = self._teleport(weights, data, seen, state)
            left, slope = self.cut(weights), gradient
            weights = teleported.there.weights
            gradient = self.gradient_after(teleported, gradient, data)
            state = meta.carry(self.layout, (left, slope), (self.cut(weights), gradient), state)
        seen, state = meta.see(self.layout, self.cut(weights), gradient, state)
        move, state = meta.move(seen, state)
        move = self.local(move, gradient)
        weights = weights + move
        if jumping and meta.design.order == "after":
            teleported, state = self._teleport(weights, data, seen, state)
            weights = teleported.there.weights
        return Step(Point(weights, state, point.step + 1), gradient, move, teleported)

    def _teleport(
        self, weights: Tensor, data: Tensors, seen: Observation, state: State
    ) -> tuple[Teleported, State]:
        design = self.meta.design
        # After a local step the gradient that was seen is that of another point.
        here = seen.gradient if design.order == "before" else self.gradient_at(self.cut(weights), data)
        proposals = propose(design, self.actions, self.loss, self.layout, weights, data, here)
        elements, state = self.meta.elements(seen, state, self.actions, proposals)
        there = jump(design, self.actions, self.losses, self.layout, weights, data, elements)
        taken = [times(a, there.taken) for a in elements]
        if design.velocity == "push" and "velocity" in state:
            state["velocity"] = self._pushed(weights, data, taken, there, state["velocity"])
        return Teleported(weights, there, taken), state

    def _pushed(self, weights: Tensor, data: Tensors, taken, there: Jump, velocity: Tensor) -> Tensor:
        """The velocity carried along by the derivative of the action."""
        design, kept = self.meta.design, (there.taken > 0)[:, None]
        move = lambda w: moved(design, self.actions, self.layout, w, data, taken)  # noqa: E731
        inside, along = only_through(kept, weights), only_through(kept, velocity)
        return torch.where(kept, jvp(move, (inside,), (along,))[1], velocity)
