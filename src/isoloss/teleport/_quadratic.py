"""A weighted sum of squares of tensors that move with the network: what the exact objectives are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

WIDE = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Quadratic:
    r"""The sum of squares :math:`\sum_p \lambda_p \lVert x_p \rVert^2`, known everywhere on the orbit of x.

    Attributes:
        tensors: The tensors :math:`x_p` by the name of the parameter that they belong to.
        power: 1 if they move like the parameters, -1 if they move like gradients, -1/2 if scalings multiply them by
            the root of what they multiply gradients by.
        weights: The numbers :math:`\lambda_p`, 1 where there is none.
    """

    tensors: Mapping[str, Tensor]
    power: float
    weights: Mapping[str, float]

    def weight(self, name: str) -> float:
        """The weight of one tensor."""
        return self.weights.get(name, 1.0)

    def value(self, names: list[str], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The part of the sum that these tensors have."""
        terms = [
            self.weight(n) * torch.linalg.vector_norm(self.tensors[n], dtype=_wide(self.tensors[n])).square()
            for n in names
            if self.tensors[n].numel()
        ]
        if not terms:
            return torch.zeros((), dtype=dtype, device=device)
        return torch.stack([t.to(device, dtype) for t in terms]).sum()


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """The tensor in float32, where it has less."""
    return x if x.dtype in WIDE else x.to(_wide(x))
