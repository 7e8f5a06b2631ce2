"""Gradients of random functions of the outputs: along a direction that the outputs do not see, they cancel.

If shifting the parameters along v leaves every output unchanged, then <v, grad> = 0 for the gradient of any
function of the outputs. One backward pass tests all candidate directions at once.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from math import isfinite

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from isoloss.finding._tape import tensors_in
from isoloss.finding._verify import Verifier
from isoloss.finding._world import Float64World, settings, without_trace


class TrueGradients(TorchFunctionMode):
    """Norms that use running statistics as formulas, so that the statistics have gradients; and plain embeddings.

    An embedding may hold back the gradient of a row, or scale it, for training. Sparse, it is as large as the tokens
    and not as the vocabulary.

    Args:
        sparse: Whether embeddings have sparse gradients.
    """

    def __init__(self, *, sparse: bool = False):
        super().__init__()
        self._plain = {"padding_idx": None, "scale_grad_by_freq": False, "sparse": sparse}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.embedding:
            given = inspect.signature(func).bind(*args, **kwargs)
            given.arguments.update(self._plain)
            return func(*given.args, **given.kwargs)
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


# Entries of gradients that are held back at most.
WAITING = 1 << 20
Visit = Callable[[str, Tensor, float], None]


def random_gradients(verifier: Verifier, visit: Visit) -> bool:
    """The gradient of a random function of the outputs, one tensor after another.

    Never are all of them there at the same time, which would be a second set of weights.

    Args:
        verifier: The copy of the model, where it is, with the inputs that it has.
        visit: Called with the name of each tensor that has a gradient, the gradient and its largest entry.

    Returns:
        False if the outputs have no gradient, or if something is not finite.
    """
    tensors = verifier.tensors
    finite, hooks = [], []
    # Small ones wait for the end of the pass, for what runs within it is watched op by op.
    waiting: list[tuple[str, Tensor]] = []

    @torch.no_grad()
    def hand_over() -> None:
        while waiting:
            name, g = waiting.pop()
            largest = float(torch.stack(g.aminmax()).abs().max()) if g.numel() else 0.0
            finite.append(isfinite(largest))
            visit(name, g, largest)

    def hook(name: str) -> Callable[[Tensor], None]:
        def take(t: Tensor) -> None:
            assert t.grad is not None
            waiting.append((name, t.grad.to_dense() if t.grad.is_sparse else t.grad))
            t.grad = None
            if sum(g.numel() for _, g in waiting) > WAITING:
                hand_over()

        return take

    try:
        for n, t in tensors.items():
            hooks.append(t.requires_grad_(True).register_post_accumulate_grad_hook(hook(n)))
        with (
            without_trace(verifier.twin),
            warnings.catch_warnings(),
            settings(),
            Float64World(),
            TrueGradients(sparse=True),
        ):
            # A number read out of what has a gradient: no matter here.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            outputs = [
                t for t in tensors_in(verifier.twin(*verifier.args, **verifier.kwargs)) if t.requires_grad
            ]
            total: Tensor | float = 0.0
            for t in outputs:
                kept = torch.where(t.isfinite(), t, 0.0)
                total = total + (kept * torch.randn(t.shape, dtype=t.dtype, device=t.device)).sum()
            if not isinstance(total, Tensor) or not bool(total.isfinite()):
                return False
            total.backward()
        hand_over()
    finally:
        for h in hooks:
            h.remove()
        for t in tensors.values():
            t.requires_grad_(False)
            t.grad = None
    return all(finite)
