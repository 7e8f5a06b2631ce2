"""A network, and a loss, as functions of parameters and data, with a way to draw both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss.symmetry import named_tensors

Tensors = dict[str, Tensor]
Function = Callable[[Tensors, Any], Tensor]
Data = Callable[[int, torch.Generator], Any]


@dataclass(frozen=True)
class Problem:
    """What a transformation of parameters may keep.

    Attributes:
        network: f, takes parameters by name and data, and returns the outputs, the sample along the first axis.
        draw_parameters: Draws parameters, float64, from a generator.
        draw_data: Draws so many samples, float64, from a generator: a tensor or a tuple of them.
        cost: c, takes outputs and data and returns a loss per sample, or one number; L is its composition with f.
    """

    network: Function
    draw_parameters: Callable[[torch.Generator], Tensors]
    draw_data: Data
    cost: Callable[[Tensor, Any], Tensor] | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        draw_data: Data,
        cost: Callable[[Tensor, Any], Tensor] | None = None,
    ) -> "Problem":
        """The problem of a module, whose parameters are redrawn around what they are.

        Args:
            model: The module, float64; called with the data, a tuple as several arguments.
            draw_data: See the class.
            cost: See the class.
        """
        home = {name: t.detach().clone() for name, t in named_tensors(model).items()}

        def network(parameters: Tensors, data: Any) -> Tensor:
            return functional_call(model, home | parameters, data)

        def draw_parameters(generator: torch.Generator) -> Tensors:
            trained = {name for name, _ in model.named_parameters()}
            return {
                name: t + 0.5 * (t.std(correction=0) + 0.1) * normal(t.shape, generator)
                for name, t in home.items()
                if name in trained
            }

        return cls(network, draw_parameters, draw_data, cost)

    def loss(self, parameters: Tensors, data: Any) -> Tensor:
        """L, the cost of what the network returns.

        Raises:
            ValueError: If no cost is given.
        """
        if self.cost is None:
            raise ValueError(
                "Problem: a symmetry of the loss needs a loss; got cost=None; give the cost of outputs and data."
            )
        return self.cost(self.network(parameters, data), data)


def normal(shape, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(*features: int) -> Data:
    """Draws samples with so many standard normal features."""
    return lambda n, generator: normal((n, *features), generator)
