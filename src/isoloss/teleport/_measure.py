"""Measuring the loss and its gradient around a jump, without leaving a trace in the training."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Closure = Callable[[], Tensor | float]


def measure(
    closure: Closure, parameters: Sequence[Tensor], model: nn.Module | None
) -> tuple[float, float | None]:
    """Loss, and the norm of its gradient if the closure returns a tensor that has one.

    Gradients, buffers (BatchNorm's statistics) and random numbers are afterwards as they were; two calls draw the
    same random numbers.

    Raises:
        ValueError: If the closure writes gradients.
    """
    buffers = [(b, b.clone()) for b in model.buffers()] if model is not None else []
    versions = [version(p.grad) for p in parameters]
    devices = {p.device.index for p in parameters if p.is_cuda}
    try:
        with torch.random.fork_rng(sorted(d for d in devices if d is not None)), torch.enable_grad():
            loss = closure()
            norm = None
            if isinstance(loss, Tensor) and loss.requires_grad:
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
                norm = torch.nn.utils.get_total_norm([g for g in found if g is not None]).item()
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    if [version(p.grad) for p in parameters] != versions:
        raise ValueError(
            "Teleport: measure must leave gradients alone; got a closure that writes .grad; "
            "return the loss without calling zero_grad() or backward()."
        )
    return float(loss.detach() if isinstance(loss, Tensor) else loss), norm


def version(grad: Tensor | None) -> tuple[int, int] | None:
    """Changes when a gradient is replaced or written to."""
    return None if grad is None else (id(grad), grad._version)
