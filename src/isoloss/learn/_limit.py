"""Slopes that are passed from one step to the one before, kept within bounds, one optimizee at a time."""

from typing import Any

import torch
from torch import Tensor

from isoloss.learn._flat import length


def limited(weights: Tensor, bound: Tensor) -> Tensor:
    """The same weights (n, P); what is passed back through them is shortened to the bound of its row, (n,).

    Slopes that are not finite become 0: one optimizee whose steps are chaotic does not drown the others.
    """
    return _Limit.apply(weights, bound)  # type: ignore[return-value]


class _Limit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(bound)
        return weights.view_as(weights)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (slope,), (bound,) = slopes, ctx.saved_tensors
        size = length(slope)
        factor = (bound[:, None] / size.clamp_min(torch.finfo(slope.dtype).tiny)).clamp_max(1.0)
        return torch.where(size.isfinite(), slope * factor, 0.0), None
