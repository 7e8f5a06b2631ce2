"""What an objective and a solver see of the training: a point of the loss landscape."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Point:
    """Parameters, gradients and learning rates, by the names that the model gives its parameters.

    Attributes:
        tensors: Parameters that the optimizer trains, and the buffers that symmetries move.
        gradients: Gradients of those that have one.
        rates: Learning rate of every parameter, that of its group now.
    """

    tensors: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    rates: Mapping[str, float]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters, without the buffers."""
        return {name: self.tensors[name] for name in self.rates}
