"""One training run, its losses and gradient norms on the way, and the time that training alone took."""

import math
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from isoloss.problems import Data
from isoloss.teleport import Jump

CHUNK = 4096


class Companion(Protocol):
    """What may move the parameters between backward and the optimizer's step, as `isoloss.Teleport` does."""

    def step(self) -> Jump | None:
        """Move if it is time to, and report it."""


def train(
    model: nn.Module,
    data: Data,
    optimizer: Optimizer,
    teleport: Companion | None = None,
    *,
    epochs: int,
    batch: int,
    generator: torch.Generator,
    evaluate_at: frozenset[int] = frozenset(),
) -> dict[str, Any]:
    """Train in place and return the history, ready for JSON; the last entries are those of the final weights.

    Args:
        model: Network on the device of the data.
        data: What to train on.
        optimizer: Any torch optimizer of the model's parameters.
        teleport: Its companion, asked once per step.
        epochs: Passes over the training data.
        batch: Samples per step; the last batch of an epoch may be smaller.
        generator: Draws the order of the samples.
        evaluate_at: Steps before which the losses and the gradient norm are recorded, on all data. The time
            this takes is not counted.

    Returns:
        Lists `epochs`, `seconds`, `training_loss`, `gradient_norm`, `validation_loss`, `validation_accuracy`;
        list `jumps`, their reports with the training loss and the gradient norm on all data before and after;
        `diverged`, true if training ended at a loss that is not finite. Such numbers are None.
    """
    per_epoch = math.ceil(len(data.y) / batch)
    history: dict[str, Any] = {"epochs": [], "seconds": [], "jumps": [], "diverged": False}
    clock = Stopwatch(data.x.device)
    loss = torch.zeros(())

    def record(step: int, *, gradient: bool) -> None:
        clock.pause()
        history["epochs"].append(step / per_epoch)
        history["seconds"].append(clock.seconds)
        for name, value in evaluate(model, data, gradient=gradient).items():
            history.setdefault(name, []).append(value)
        clock.resume()

    clock.resume()
    for step, (x, y) in enumerate(_batches(data, epochs, batch, generator)):
        if step in evaluate_at:
            record(step, gradient=True)
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        jump = teleport.step() if teleport is not None else None
        if jump is not None and jump.skipped is None:
            clock.pause()
            predicted = {name: finite(value) for name, value in jump.as_dict().items()}
            told: dict[str, Any] = {"epoch": step / per_epoch, "predicted_on_the_batch": predicted}
            if step in evaluate_at:
                told["before"] = {name: history[name][-1] for name in ("training_loss", "gradient_norm")}
                after = evaluate(model, data, gradient=True)
                told["after"] = {name: after[name] for name in told["before"]}
            history["jumps"].append(told)
            clock.resume()
        optimizer.step()
        if (step + 1) % per_epoch == 0 and not loss.isfinite():
            break
    record(step + 1, gradient=bool(evaluate_at))
    history["diverged"] = history["training_loss"][-1] is None
    return history


def evaluate(model: nn.Module, data: Data, *, gradient: bool) -> dict[str, float | None]:
    """Losses and accuracy on all data, and on request the norm of the gradient of the training loss."""
    loss, _ = _mean_loss(model, data.x, data.y)
    validation_loss, accuracy = _mean_loss(model, data.x_validation, data.y_validation)
    values = {"training_loss": loss, "validation_loss": validation_loss, "validation_accuracy": accuracy}
    if gradient:
        values["gradient_norm"] = gradient_norm(model, data)
    return {name: finite(value) for name, value in values.items()}


def gradient_norm(model: nn.Module, data: Data) -> float:
    """Euclidean norm of the gradient of the training loss over all parameters; leaves `.grad` alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]
    for x, y in zip(data.x.split(CHUNK), data.y.split(CHUNK), strict=True):
        loss = cross_entropy(model(x), y, reduction="sum") / len(data.y)
        for t, g in zip(total, torch.autograd.grad(loss, parameters), strict=True):
            t.add_(g)
    return torch.nn.utils.get_total_norm(total).item()


class Stopwatch:
    """Seconds between resume and pause, added up.

    On a CPU with one thread it counts the time of this process, which other work on the machine does not
    stretch; otherwise the time on the wall.
    """

    def __init__(self, device: torch.device):
        self.seconds = 0.0
        self._device = device
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self._clock = time.process_time if alone else time.perf_counter

    def resume(self) -> None:
        """Count from now."""
        self._since = self._now()

    def pause(self) -> None:
        """Stop counting."""
        self.seconds += self._now() - self._since

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()


def _batches(
    data: Data, epochs: int, batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(epochs):
        order = torch.randperm(len(data.y), generator=generator).to(data.y.device)
        yield from zip(data.x[order].split(batch), data.y[order].split(batch), strict=True)


@torch.no_grad()
def _mean_loss(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    loss = correct = 0.0
    for xs, ys in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        logits = model(xs)
        loss += cross_entropy(logits, ys, reduction="sum").item()
        correct += (logits.argmax(1) == ys).sum().item()
    return loss / len(y), correct / len(y)


def finite(value: float) -> float | None:
    """The value, or None if it is inf or nan, for which JSON has no words."""
    return value if math.isfinite(value) else None
