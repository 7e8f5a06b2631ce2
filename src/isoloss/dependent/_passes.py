"""Running a model several times on the same batch, without a trace in the training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Closure = Callable[[], Tensor]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[Callable[[Closure], Tensor]]:
    """A runner for closures: every run draws the same random numbers, and buffers are put back afterwards."""
    buffers = [(b, b.clone()) for b in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda and p.device.index is not None})
    states = torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in devices]

    def rewind() -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(devices, states[1], strict=True):
            torch.cuda.set_rng_state(state, device)

    def run(closure: Closure) -> Tensor:
        rewind()
        return closure()

    try:
        yield run
    finally:
        rewind()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def loss_of(run: Callable[[Closure], Tensor], closure: Closure, where: str) -> float:
    """The loss, without its graph.

    Raises:
        ValueError: If the closure returns no number.
    """
    with torch.no_grad():
        loss = run(closure)
    if not isinstance(loss, Tensor | float | int) or (isinstance(loss, Tensor) and loss.numel() != 1):
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(
            f"{where}: loss must return one number; got {got}; reduce it by its mean, and call no backward()."
        )
    return float(loss)
