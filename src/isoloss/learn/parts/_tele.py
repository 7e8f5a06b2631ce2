"""The group element g_t."""

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn.actions import Action
from isoloss.learn.parts._part import Part

Shape = tuple[int, ...]


def algebra_shape(action: Action | Shape) -> Shape:
    """The shape of its algebra elements, unless it is one."""
    return action if isinstance(action, tuple) else (*action.batch, *action.group.algebra_shape)


class Teleport(Part):
    r"""Learns the group element of every action, through its algebra.

    With a network of the kind "coordinate" the element is composed of directions, :math:`a = \sum_d c_d D_d(w)`. The
    network sees the summary of the gradient and how long the directions are, one action at a time, and puts out the
    coefficients: so it applies to groups of any size, and elements do not depend on how the hidden units are ordered.
    With "whole" its outputs are the coordinates of the algebra, as published.

    References:
        Dissertation, Section 5.5 and Algorithm 3: m_2. The directions are ours.
    """

    name: ClassVar[str] = "tele"

    def __init__(self, design: Design, layout: Layout | None = None, actions: Sequence[Action | Shape] = ()):
        self.by_directions = design.network == "coordinate"
        self.shapes: tuple[Shape, ...] = ()
        if self.by_directions:
            super().__init__(design, layout, len(design.directions), len(design.directions))
        else:
            self.shapes = tuple(map(algebra_shape, actions))
            super().__init__(design, layout, sum(map(prod, self.shapes)))

    def start(self, weights: Tensor, actions: int) -> State:
        """See `Part`."""
        return self.network.start((len(weights), actions) if self.by_directions else (len(weights),))

    def decide(
        self, seen: Observation, state: State, actions: Sequence[Action], proposals: Sequence[Tensor]
    ) -> tuple[list[Tensor], State]:
        """An algebra element per action, (n, *algebra_shape).

        Args:
            seen: What is known.
            state: The memory.
            actions: What moves the optimizee.
            proposals: Per action, (n, directions, *algebra_shape); empty for a network of the kind "whole".
        """
        if self.by_directions:
            return self._composed(seen, state, proposals)
        outputs, kept = self.network(self.features(seen), state)
        parts = outputs.to(seen.weights.dtype).split([prod(shape) for shape in self.shapes], 1)
        found = [
            action.group.project(part.unflatten(1, shape))
            for action, part, shape in zip(actions, parts, self.shapes, strict=True)
        ]
        return found, kept

    def _composed(
        self, seen: Observation, state: State, proposals: Sequence[Tensor]
    ) -> tuple[list[Tensor], State]:
        sizes = torch.stack([p.flatten(2).norm(dim=2) for p in proposals], 1)
        shown = self.features(seen)[:, None].expand(-1, len(proposals), -1)
        lengths = sizes.log1p().to(shown.dtype) / 3
        outputs, kept = self.network(torch.cat([shown, lengths], -1), state)
        outputs = outputs.to(seen.weights.dtype)
        found = [torch.einsum("nd,nd...->n...", outputs[:, k], p) for k, p in enumerate(proposals)]
        return found, kept
