"""Gradients of random functions of the outputs: along a direction that the outputs do not see, they cancel.

If shifting the parameters along v leaves every output unchanged, then <v, grad> = 0 for the gradient of any
function of the outputs. One backward pass tests all candidate directions at once.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isoloss.finding._tape import tensors_in
from isoloss.finding._verify import Verifier
from isoloss.finding._world import Float64World, settings


class _StatisticsAsInputs(TorchFunctionMode):
    """Norms that use running statistics as formulas, so that the statistics have gradients."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _NORMS:
            given = inspect.signature(func).bind(*args, **kwargs)
            given.apply_defaults()
            a = given.arguments
            if a["running_mean"] is not None:
                if not a.get("training", a.get("use_input_stats")):
                    return _normalised(
                        a["input"], a["running_mean"], a["running_var"], a["weight"], a["bias"], a["eps"]
                    )
                a["running_mean"], a["running_var"] = a["running_mean"].detach(), a["running_var"].detach()
            return func(*given.args, **given.kwargs)
        return func(*args, **kwargs)


_NORMS = (torch.nn.functional.batch_norm, torch.nn.functional.instance_norm)


def _normalised(x, mean, var, weight, bias, eps):
    shape = [1, -1, *[1] * (x.ndim - 2)]
    y = (x - mean.view(shape)) * (var.view(shape) + eps).rsqrt()
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def random_gradients(
    verifier: Verifier, reduce: Callable[[dict[str, Tensor], dict[str, Tensor]], Any]
) -> Any:
    """One random input and function of the outputs; `reduce` sees the parameters and their gradients.

    Returns:
        What reduce returns, or None if the outputs have no gradient or are not finite.
    """
    # Inputs of several sizes reach both sides of more units; much larger ones would drown a radial basis.
    scale = 10 ** (float(torch.rand((), generator=verifier.random)) - 0.5)
    args, kwargs = verifier.redrawn(scale)
    tensors = verifier.tensors
    state = {n: b.clone() for n, b in verifier.twin.named_buffers()}
    for t in tensors.values():
        t.requires_grad_(True)
    try:
        with warnings.catch_warnings(), settings(), Float64World(), _StatisticsAsInputs():
            # A number read out of what has a gradient: no matter here.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            outputs = [t for t in tensors_in(verifier.twin(*args, **kwargs)) if t.requires_grad]
            total: Tensor | float = 0.0
            for t in outputs:
                kept = torch.where(t.isfinite(), t, 0.0)
                total = total + (kept * torch.randn(t.shape, dtype=t.dtype, device=t.device)).sum()
            if not isinstance(total, Tensor) or not bool(total.isfinite()):
                return None
            found = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    finally:
        for t in tensors.values():
            t.requires_grad_(False)
        with torch.no_grad():
            for n, b in verifier.twin.named_buffers():
                if n not in tensors:
                    b.copy_(state[n])
    gradients = {
        n: g if g is not None else torch.zeros_like(t)
        for (n, t), g in zip(tensors.items(), found, strict=True)
    }
    if not all(bool(g.isfinite().all()) for g in gradients.values()):
        return None
    with torch.no_grad():
        return reduce(tensors, gradients)
