"""The local update f_t."""

from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn.parts._part import Part, cautious, first_slope

STRIDE, RETURN = 0.2, 0.98
"""Largest change of the logarithm of a learning rate in a step, and how much of its past changes remains after one."""


class Update(Part):
    r"""Learns the local update of every weight.

    With units "rate" every weight i of a tensor whose gradient has root mean square s has a learning rate, which the
    outputs u and d of the network raise or lower bit by bit:

    .. math:: f_i = -\rho \frac{|w_0|}{|\nabla_0|} e^{\lambda_i} (\nabla_i + s\, d_i), \qquad
        \lambda_i \leftarrow 0.98 \lambda_i + 0.2 \tanh u_i

    So steps shrink with the gradient, as those of gradient descent do, and what was learned on one scale of the loss
    holds on another. With units "direct" :math:`f_t = m(\nabla_t, h_t)`, as published.

    A teleport before a later step carries the learning rates along: those of a tensor are multiplied by the factor by
    which its weights grew, over that by which its gradient did. For a rescaling that is the square of the scale, and
    the next step is the rescaled one. After a local step that was too long
    rates fall, see `cautious`.

    References:
        Dissertation, Section 5.5 and Algorithm 3: m_1. Andrychowicz et al. 2016 for one network per weight.
    """

    name: ClassVar[str] = "update"
    local: ClassVar[bool] = True

    def __init__(self, design: Design, layout: Layout | None = None):
        columns = 2 if design.units == "rate" else 1
        size = 1 if layout is None or design.network == "coordinate" else layout.size
        super().__init__(design, layout, columns * size)
        self.columns = columns
        self.log_rate = nn.Parameter(torch.tensor(log(design.rate))) if design.units == "rate" else None

    def start(self, weights: Tensor, actions: int) -> State:
        """See `Part`."""
        state = self.network.start(self.rows(weights))
        if self.log_rate is not None:
            zero = torch.zeros_like(weights)
            state |= {"rate": zero, "carried": zero, "first": zero[:, :1], "length": zero[:, :1]}
        return state

    def carried(self, state: State, change: Tensor, growth: Tensor, layout: Layout) -> State:
        """See `Part`: steps stay as long, relative to the weights of their tensor."""
        if self.log_rate is None:
            return state
        carried = state["carried"] - layout.spread(change[:, :-1])
        return state | {"carried": carried, "length": state["length"] * growth}

    def decide(self, seen: Observation, state: State) -> tuple[Tensor, State]:
        """The step, (n, P)."""
        outputs, kept = self.network(self.features(seen), state)
        outputs = outputs.to(seen.weights.dtype).reshape(*seen.weights.shape, self.columns)
        if self.log_rate is None:
            return outputs[..., 0], kept
        first = first_slope(seen, state)
        rate = RETURN * state["rate"] + STRIDE * outputs[..., 0].tanh()
        direction = seen.gradient + seen.layout.spread(seen.scale) * outputs[..., 1]
        fall, memory = cautious(seen, state)
        carried = state["carried"] - fall
        step = -(rate + carried + self.log_rate).exp() * (direction / first)
        return step, kept | {"rate": rate, "carried": carried, "first": first, **memory}
