"""The learning rate of gradient descent."""

from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn.parts._part import Part, cautious, first_slope
from isoloss.learn.parts._update import RETURN, STRIDE


class LearningRate(Part):
    r"""Learns one learning rate for all weights, step by step; the update is :math:`-\eta_t \nabla_t`.

    With units "rate" its logarithm moves as those of `Update` do, through teleports as well; with units "direct" it is
    :math:`\eta_{\max}\, \mathrm{sigmoid}(m(\nabla_t, h_t))`.

    References:
        Dissertation, Section 5.5: LSTM(lr,tele); 2025 paper, Algorithm 3.
    """

    name: ClassVar[str] = "lr"

    def __init__(self, design: Design, layout: Layout | None = None):
        super().__init__(design, layout, 1)
        self.log_rate = nn.Parameter(torch.tensor(log(design.rate))) if design.units == "rate" else None

    def start(self, weights: Tensor, actions: int) -> State:
        """See `Part`."""
        zero = torch.zeros_like(weights[:, :1])
        memory = (
            {} if self.log_rate is None else {"rate": zero, "carried": zero, "first": zero, "length": zero}
        )
        return self.network.start(self.rows(weights)) | memory

    def carried(self, state: State, change: Tensor, growth: Tensor, layout: Layout) -> State:
        """See `Part`: the step stays as long, relative to the weights."""
        if self.log_rate is None:
            return state
        return state | {"carried": state["carried"] - change[:, -1:], "length": state["length"] * growth}

    def decide(self, seen: Observation, state: State) -> tuple[Tensor, State]:
        """The learning rate, (n, 1)."""
        outputs, kept = self.network(self.features(seen), state)
        outputs = outputs.to(seen.weights.dtype)
        if self.log_rate is None:
            return self.design.rate * outputs.sigmoid(), kept
        first = first_slope(seen, state)
        rate = RETURN * state["rate"] + STRIDE * outputs.tanh()
        fall, memory = cautious(seen, state)
        carried = state["carried"] - fall
        found = (rate + carried + self.log_rate).exp() / first
        return found, kept | {"rate": rate, "carried": carried, "first": first, **memory}
