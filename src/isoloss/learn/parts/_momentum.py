"""The momentum coefficient."""

from typing import ClassVar

from torch import Tensor

from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._observation import Observation
from isoloss.learn._state import State
from isoloss.learn.parts._part import Part


class Momentum(Part):
    r"""Learns the coefficient of the velocity, :math:`v_t = \beta_t v_{t-1} + f_t - \eta_t \nabla_t`.

    It lies between 0 and 1, and at a half before training.

    References:
        2025 paper, Algorithm 3. There the learned f_t is computed and not used, and the step is taken twice, once by
        W and once by x; we take it once, and f_t enters the velocity if `update` is learned as well.
    """

    name: ClassVar[str] = "momentum"

    def __init__(self, design: Design, layout: Layout | None = None):
        super().__init__(design, layout, 1)

    def start(self, weights: Tensor, actions: int) -> State:
        """See `Part`."""
        return self.network.start(self.rows(weights))

    def decide(self, seen: Observation, state: State) -> tuple[Tensor, State]:
        """The coefficient, (n, 1)."""
        outputs, kept = self.network(self.features(seen), state)
        return outputs.to(seen.weights.dtype).sigmoid(), kept
