"""Training with moves between epochs: losses on the way, what every move did, and the time training took."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.demo._train import Stopwatch

Batch = tuple[Tensor, Tensor]
Move = Callable[[], Mapping[str, Any] | None]
"""Changes the parameters, the optimizer's state, or both, in place; returns what is worth keeping."""


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    epoch: Callable[[int], Iterable[Batch]],
    epochs: int,
    *,
    watch: Callable[[], Mapping[str, float]],
    moves: Mapping[int, Sequence[Move]] | None = None,
) -> dict[str, Any]:
    """Train in place.

    Args:
        model: The network.
        optimizer: Of its parameters.
        loss: Of outputs and targets.
        epoch: The batches of an epoch, by its number.
        epochs: How many.
        watch: Measures the network: before every epoch, around every move and at the end; its time is not counted.
        moves: By epoch, what is done before its first step, one after another.

    Returns:
        Lists `epochs`, `seconds` and one for each name that watch returns; `jumps`, with the measures `before` and
        `after` each; `move_seconds`. Training stops at a loss that is not finite, and `diverged` says so.
    """
    clock, moving = Stopwatch(torch.device("cpu")), Stopwatch(torch.device("cpu"))
    history: dict[str, Any] = {"epochs": [], "seconds": [], "jumps": [], "diverged": False}

    def record(number: int) -> dict[str, float]:
        seen = dict(watch())
        for name, value in ({"epochs": number, "seconds": clock.seconds} | seen).items():
            history.setdefault(name, []).append(value)
        return seen

    for number in range(epochs):
        seen = record(number)
        for move in (moves or {}).get(number, ()):
            clock.resume()
            moving.resume()
            told = move()
            clock.pause()
            moving.pause()
            before, seen = seen, dict(watch())
            history["jumps"].append({"epoch": number, "before": before, "after": seen} | dict(told or {}))
        clock.resume()
        finite = _steps(model, optimizer, loss, epoch(number))
        clock.pause()
        if not finite:
            history["diverged"] = True
            break
    record(number + 1)
    history["move_seconds"] = moving.seconds
    return history


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, loss, batches: Iterable[Batch]) -> bool:
    value = torch.zeros(())
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
    return bool(value.isfinite())


@torch.no_grad()
def put_(model: nn.Module, weights: Iterable[Tensor]) -> None:
    """Write weights into a network, all or, if one is not finite, none."""
    new = [w.detach() for w in weights]
    if all(w.isfinite().all() for w in new):
        for p, w in zip(model.parameters(), new, strict=True):
            p.copy_(w)


def reset_(optimizer: torch.optim.Optimizer) -> None:
    """Forget what the optimizer has gathered, as building it anew would; the published code does that."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for p in group["params"] if isinstance(optimizer, torch.optim.Adagrad) else ():
            start = torch.full_like(p, group["initial_accumulator_value"], requires_grad=False)
            optimizer.state[p] = {"step": torch.tensor(0.0, dtype=torch.float32), "sum": start}
