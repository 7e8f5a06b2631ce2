"""What a part of a meta-optimizer is: a network, and a rule that turns its outputs into one decision."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout, length, length_or_one
from isoloss.learn._observation import COORDINATE_FEATURES, SUMMARY_FEATURES, Observation, log_scale
from isoloss.learn._state import State
from isoloss.learn.networks import Recurrent


class Part(nn.Module, ABC):
    """A network and a rule. A new part is one file here and one line in `PARTS`.

    Args:
        design: Of the meta-optimizer.
        layout: Of the optimizee; None if the network sees one weight at a time.
        outputs: Of the network: per weight for a local part of the kind "coordinate", else altogether.
        extra: Features besides those of the observation.

    Attributes:
        name: As variants call it.
        local: Does it decide for each weight?
    """

    name: ClassVar[str]
    local: ClassVar[bool] = False

    def __init__(self, design: Design, layout: Layout | None, outputs: int, extra: int = 0):
        super().__init__()
        self.design = design
        if design.network == "whole":
            assert layout is not None
            inputs = layout.size * (1 if design.raw else 2)
        else:
            inputs = (COORDINATE_FEATURES if self.local else SUMMARY_FEATURES) + extra
        self.network = Recurrent(
            inputs, outputs, design.units_per_cell, design.layers, design.units == "rate"
        )

    @abstractmethod
    def start(self, weights: Tensor, actions: int) -> State:
        """What is remembered before the first step, for weights (n, P) and so many actions."""

    def rows(self, weights: Tensor) -> tuple[int, ...]:
        """Leading axes of the network's features."""
        one_by_one = self.local and self.design.network == "coordinate"
        return tuple(weights.shape) if one_by_one else (len(weights),)

    def features(self, seen: Observation) -> Tensor:
        """What the network sees, (*rows, inputs), in its dtype."""
        if self.design.network == "coordinate":
            shown = seen.of_coordinates() if self.local else seen.of_all()
        elif self.design.raw:
            shown = seen.gradient
        else:
            shown = log_scale(seen.gradient * seen.inverse_scale).flatten(1)
        return shown.to(self.network.read.weight.dtype)

    def carried(self, state: State, change: Tensor, growth: Tensor, layout: Layout) -> State:
        """What is remembered after a teleport, through which the gradients changed relative to the weights.

        Args:
            state: What was remembered before it.
            change: By what logarithm, for every tensor and for all together, (n, T + 1).
            growth: By what factor the gradient grew, (n, 1).
            layout: Of the optimizees.
        """
        return state

    @abstractmethod
    def decide(self, seen: Observation, state: State) -> tuple[Any, State]:
        """The decision, and what is remembered of it."""


def first_slope(seen: Observation, state: State) -> Tensor:
    """Length of the gradient over that of the weights at the first step, (n, 1); lengths of 0 count as 1."""
    slope = length_or_one(seen.gradient) / length_or_one(seen.weights)
    return slope.where((seen.step == 0)[:, None], state["first"])


CAUTION, SURGE = 2.0, 10.0
"""Part of the last gradient from which on learning rates fall: of one that points against it, and of any."""


def cautious(seen: Observation, state: State) -> tuple[Tensor, State]:
    """The logarithm by which learning rates fall after a local step that was too long, (n, 1).

    Such a step turns the gradient round: if its component along the last one is -r times as long, r > 2, rates are
    divided by r / 2; likewise if it is r > 10 times as long, whatever its direction. Less growth says nothing:
    gradients of minibatches grow and shrink at all rates, and rates that fell each time would vanish. At a step before
    which there was a teleport the angle is to the gradient before it.

    Args:
        seen: What is known.
        state: With the length of the gradient after the last step, or after the teleport that followed it.
    """
    here, last = length(seen.gradient), state["length"]
    known = (here > 0) & (last > 0)  # not at the first step
    grown = torch.where(known, here, 0.0) / torch.where(known, last, 1.0)
    against = torch.where(grown > SURGE, grown, -seen.cosine[:, None] * grown)
    fall = (against / CAUTION).clamp_min(1.0).log()
    return torch.where(fall.isfinite(), fall, 0.0), {"length": here}
