"""What an objective and a solver see of the training: a point of the loss landscape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Point:
    """Parameters, gradients and learning rates, by the names that the model gives its parameters.

    Attributes:
        tensors: Parameters that the optimizer trains, and the buffers that symmetries move.
        gradients: Gradients of those that have one.
        rates: Learning rate of every parameter, that of its group now.
        loss: The training loss on the current minibatch as a differentiable function of tensors by name (absent
            names are the model's own); None if `Teleport` was given no loss.
        state: The optimizer's state of every parameter that has one; not to be written to.
        options: The settings of every parameter's group: "betas", "eps" and the like.
    """

    tensors: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    rates: Mapping[str, float]
    loss: Callable[[Mapping[str, Tensor]], Tensor] | None = None
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters, without the buffers."""
        return {name: self.tensors[name] for name in self.rates}

    @property
    def eps(self) -> float:
        """The rounding of the coarsest dtype among the tensors."""
        dtypes = [t.dtype for t in self.tensors.values() if t.is_floating_point()]
        return max((torch.finfo(d).eps for d in dtypes), default=torch.finfo(torch.float32).eps)

    def loss_for(self, who: str) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """The loss.

        Raises:
            ValueError: If there is none, or it does not depend on the parameters.
        """
        if self.loss is None:
            raise without_loss(who)
        if (check := getattr(self.loss, "check_dependence", None)) is not None:
            check()
        return self.loss


def without_loss(who: str) -> ValueError:
    """What whoever needs the loss says where there is none."""
    return ValueError(
        f"{who}: must evaluate the loss at other parameters; got none; "
        "give Teleport(..., loss=closure), where closure() returns the loss of the current minibatch."
    )
