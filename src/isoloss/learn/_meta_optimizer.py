"""A meta-optimizer: the parts that a variant names, and how their decisions make a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout, length, length_or_one
from isoloss.learn._observation import Observation, observe, observer_start
from isoloss.learn._state import State, part_of, under
from isoloss.learn.actions import Action
from isoloss.learn.parts import PARTS, Part, Shape, Teleport, algebra_shape
from isoloss.learn.tasks import Tasks

_KEY = "learned_"  # a ModuleDict holds no module named update


class MetaOptimizer(nn.Module):
    r"""Chooses the local update and the group element of n optimizees, step by step.

    .. math:: v_t = \beta_t v_{t-1} + f_t - \eta_t \nabla_t, \qquad w_{t+1} = g_t \cdot (w_t + v_t)

    where what is not in the variant is absent: 1 for g, 0 for the rest. `design.order` says on which side of the local
    step g acts.

    Args:
        design: What is learned, and how.
        layout: Names and shapes of the optimizee's weights; only networks of the kind "whole" need it.
        actions: What moves the optimizee, or the shapes of their algebra elements; likewise.

    Attributes:
        info: Whatever is to be known of it, such as what it was trained on; saved with it, in words of JSON.

    Raises:
        ValueError: If the network is of the kind "whole" and layout is missing, or the variant has tele and there is no
            action.

    References:
        Dissertation, Section 5.5 and Algorithm 3; 2025 paper, Algorithms 1 and 3.
    """

    def __init__(self, design: Design, layout: Layout | None = None, actions: Sequence[Action | Shape] = ()):
        super().__init__()
        if design.network == "whole" and layout is None:
            raise ValueError(
                "MetaOptimizer: a network that reads the whole gradient must know its size; got no layout; "
                "use MetaOptimizer.of(design, tasks), or network='coordinate'."
            )
        if design.network == "whole" and "tele" in design.variant and not actions:
            raise ValueError(
                "MetaOptimizer: a network whose outputs are the group element must know the group; got no actions; "
                "use MetaOptimizer.of(design, tasks), or network='coordinate'."
            )
        self.design, self.layout = design, layout if design.network == "whole" else None
        self.info: dict[str, Any] = {}
        self.parts = nn.ModuleDict(
            {
                _KEY + name: Teleport(design, layout, actions) if part is Teleport else part(design, layout)  # type: ignore[call-arg]
                for name, part in PARTS.items()
                if name in design.variant
            }
        )

    @classmethod
    def of(cls, design: Design, tasks: Tasks) -> "MetaOptimizer":
        """A meta-optimizer for these tasks, with freshly drawn networks.

        Raises:
            ValueError: If the variant has tele and nothing can teleport the tasks.
        """
        if "tele" in design.variant and not tasks.actions:
            raise ValueError(
                f"MetaOptimizer: tele needs tasks with an action; {tasks.name} has none; leave tele out of the variant."
            )
        return cls(
            design, Layout.of(tasks.draw(1, torch.Generator().manual_seed(0)).parameters), tasks.actions
        )

    def part(self, name: str) -> Part:
        """The part of that name."""
        part = self.parts[_KEY + name]
        assert isinstance(part, Part)
        return part

    @property
    def teleport(self) -> Teleport:
        """The part tele."""
        part = self.part("tele")
        assert isinstance(part, Teleport)
        return part

    def start(self, layout: Layout, weights: Tensor, actions: int = 0) -> State:
        """What is remembered before the first step.

        Args:
            layout: Of the optimizees.
            weights: Where they start, (n, P).
            actions: Number of actions that can teleport them.

        Raises:
            ValueError: If the optimizee has not the shape that the networks were made for.
        """
        self.check_fit(layout)
        state = under("observer", observer_start(layout, weights)) | {"home": length_or_one(weights)}
        if "momentum" in self.design.variant:
            state |= {"velocity": torch.zeros_like(weights)}
        for name in self.design.variant:
            state |= under(name, self.part(name).start(weights, actions))
        return {name: value.detach() for name, value in state.items()}

    def check_fit(self, layout: Layout, actions: Sequence[Action] | None = None) -> None:
        """Refuse an optimizee that the networks were not made for; names may differ.

        Args:
            layout: Of the optimizee.
            actions: What teleports it; None if it is not known yet.

        Raises:
            ValueError: If networks of the kind "whole" were made for other shapes, or for groups of other shapes.
        """
        if self.layout is None:
            return
        got, made = (tuple(shape for _, shape in x.shapes) for x in (layout, self.layout))
        if got != made:
            raise ValueError(
                f"MetaOptimizer: networks that read the whole gradient fit one optimizee; got {_excerpt(got)}, "
                f"made for {_excerpt(made)}; learn one with network='coordinate'."
            )
        if actions is not None and "tele" in self.design.variant:
            groups, own = tuple(map(algebra_shape, actions)), self.teleport.shapes
            if groups != own:
                raise ValueError(
                    f"MetaOptimizer: networks that read the whole gradient teleport by the actions they were made for; "
                    f"got algebra elements {_excerpt(groups)}, made for {_excerpt(own)}; "
                    "learn one with network='coordinate'."
                )

    def carry(
        self, layout: Layout, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], state: State
    ) -> State:
        """What is remembered after a teleport.

        Args:
            layout: Of the optimizees.
            before: Weights and gradients (n, P) before it.
            after: Weights and gradients after it.
            state: What was remembered before it.
        """

        def slopes(weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
            sizes = [torch.cat([layout.per_tensor(x), length(x)], 1) for x in (weights, gradient)]
            there = (sizes[0] != 0) & (sizes[1] != 0)
            return torch.where(there, sizes[1], 1.0).log() - torch.where(there, sizes[0], 1.0).log(), there

        (old, some), (new, others) = slopes(*before), slopes(*after)
        begun = part_of(state, "observer")["step"][:, None] > 0
        known = begun & some & others & old.isfinite() & new.isfinite()
        change = torch.where(known, new - old, 0.0)
        growth = length_or_one(after[1]) / length_or_one(before[1])
        state = dict(state)
        for name in self.design.variant:
            state |= under(name, self.part(name).carried(part_of(state, name), change, growth, layout))
        return state

    def see(
        self, layout: Layout, weights: Tensor, gradient: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Observation, State]:
        """What is known with this gradient (n, P) at these weights (n, P), and the memory that includes it."""
        seen, kept = observe(layout, weights, gradient, part_of(state, "observer"))
        return seen, dict(state) | under("observer", kept)

    def move(self, seen: Observation, state: Mapping[str, Tensor]) -> tuple[Tensor, State]:
        """The local step (n, P), and the memory after it."""
        state, step = dict(state), torch.zeros_like(seen.weights)
        if "update" in self.design.variant:
            f, kept = self.part("update").decide(seen, part_of(state, "update"))
            step, state = step + f, state | under("update", kept)
        if "lr" in self.design.variant:
            rate, kept = self.part("lr").decide(seen, part_of(state, "lr"))
            step, state = step - rate * seen.gradient, state | under("lr", kept)
        if "momentum" in self.design.variant:
            beta, kept = self.part("momentum").decide(seen, part_of(state, "momentum"))
            step = beta * state["velocity"] + step
            state |= under("momentum", kept)
        step = self._trusted(seen, step, state["home"])
        if "momentum" in self.design.variant:
            state["velocity"] = step
        return step, state

    def elements(
        self,
        seen: Observation,
        state: Mapping[str, Tensor],
        actions: Sequence[Action],
        proposals: Sequence[Tensor],
    ) -> tuple[list[Tensor], State]:
        """For every action the algebra element of the teleport, (n, *algebra_shape), and the memory after it."""
        found, kept = self.teleport.decide(seen, part_of(state, "tele"), actions, proposals)
        return found, dict(state) | under("tele", kept)

    def _trusted(self, seen: Observation, step: Tensor, home: Tensor) -> Tensor:
        if self.design.trust == float("inf"):
            return step
        bound = self.design.trust * (home + length(seen.weights))
        # A smooth minimum of the two lengths.
        return step * (bound / torch.hypot(bound, length(step)))


def _excerpt(shapes: Sequence[tuple[int, ...]]) -> str:
    """The first few of them."""
    return ", ".join(map(str, shapes[:6])) + (", ..." if len(shapes) > 6 else "") if shapes else "none"
