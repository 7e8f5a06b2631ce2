"""What runs of an optimizer look like: baselines and learned optimizers return the same."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rollout:
    """Runs of one optimizer on n tasks.

    Attributes:
        losses: Before every step and at the end, (steps + 1, n), on all data of the tasks; inf where a run diverged.
        jumps: The steps at which the optimizees were teleported.
        gains: Gradient norm after each teleport over that before, (jumps, n).
        changes: Relative change of the loss at each teleport, (jumps, n).
        sizes: Size of log g, the largest over the actions, (jumps, n); 0 where an element was refused.
        rates: Length of each local update over that of the gradient, (steps, n): an effective learning rate.
    """

    losses: Tensor
    jumps: tuple[int, ...]
    gains: Tensor
    changes: Tensor
    sizes: Tensor
    rates: Tensor

    @property
    def mean_rate(self) -> float:
        """Geometric mean of the effective learning rates that are positive and finite, over steps and tasks."""
        known = self.rates[self.rates.isfinite() & (self.rates > 0)]
        return float(known.log().mean().exp())
