"""Who trains: optimizers, with and without a teleport beside them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from isoloss.symmetry import Symmetries
from isoloss.teleport import Balance, GradientNorm, Teleport, at

SGD_RATES = (0.0032, 0.01, 0.032, 0.1, 0.32, 1.0)
ADAM_RATES = (0.0001, 0.00032, 0.001, 0.0032, 0.01, 0.032)


@dataclass(frozen=True)
class Contender:
    """An optimizer and what it is allowed to do besides stepping.

    Attributes:
        name: Key in results.json and label in the figure.
        optimizer: Class from torch.optim.
        rates: Learning rates that the sweep starts from.
        teleport: Jump to a larger gradient a few times in the first epoch, or balance the weights at the
            start.
        against: Name of the contender that differs in nothing but the teleport.
    """

    name: str
    optimizer: Callable[..., torch.optim.Optimizer]
    rates: tuple[float, ...]
    teleport: Literal["gradient norm", "balance"] | None = None
    against: str | None = None

    def jumps_at(self, teleports: int, per_epoch: int) -> frozenset[int]:
        """Steps before which it jumps."""
        match self.teleport:
            case "gradient norm":
                return frozenset(per_epoch * i // teleports for i in range(teleports))
            case "balance":
                return frozenset({0})
            case None:
                return frozenset()

    def equip(
        self,
        model: nn.Module,
        symmetries: Symmetries,
        *,
        rate: float,
        radius: float,
        jumps_at: frozenset[int],
    ) -> tuple[torch.optim.Optimizer, Teleport | None]:
        """The optimizer of a model, and the teleport beside it."""
        optimizer = self.optimizer(model.parameters(), lr=rate)
        if not jumps_at:
            return optimizer, None
        # Balancing has an optimum on the orbit and goes there; only the gradient norm, which has none, is bounded.
        objective, bound = (Balance(), None) if self.teleport == "balance" else (GradientNorm(), radius)
        companion = Teleport(
            optimizer, symmetries.bind(model), objective, schedule=at(jumps_at), radius=bound
        )
        return optimizer, companion


CONTENDERS = (
    Contender("SGD", torch.optim.SGD, SGD_RATES),
    Contender("SGD + teleport", torch.optim.SGD, SGD_RATES, "gradient norm", against="SGD"),
    Contender("SGD + balance", torch.optim.SGD, SGD_RATES, "balance", against="SGD"),
    Contender("Adam", torch.optim.Adam, ADAM_RATES),
    Contender("Adam + balance", torch.optim.Adam, ADAM_RATES, "balance", against="Adam"),
)
