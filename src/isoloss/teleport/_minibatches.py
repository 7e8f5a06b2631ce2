"""Teleports found on other minibatches than the one that the optimizer is about to use."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from isoloss.teleport._displace import gradients_at
from isoloss.teleport._loss import Loss, LossClosure
from isoloss.teleport._point import Point


def averaged(closures: Sequence[LossClosure]) -> LossClosure:
    """One closure, the mean of the losses of several minibatches.

    For `Teleport(minibatches=lambda: [averaged(closures)])`: one jump that is best for all of them on average, where
    `minibatches=lambda: closures` makes one jump for each, one after another.

    Args:
        closures: Each returns the loss of a minibatch, as a tensor with a graph and without backward.

    Raises:
        ValueError: If there are none.
    """
    closures = _closures(closures, "averaged: closures", "pass one per minibatch")

    def mean() -> Tensor:
        return torch.stack([closure().reshape(()) for closure in closures]).mean()

    return mean


def listed(closures: Any) -> Iterator[LossClosure]:
    """The closures of one jump, one after another.

    Raises:
        ValueError: If there are none, or something else.
    """
    return iter(
        _closures(
            closures,
            "Teleport: minibatches()",
            "an iterator is used up by one jump: make it anew at every call",
        )
    )


def _closures(given: Any, what: str, fix: str) -> list[LossClosure]:
    found = list(given) if isinstance(given, Iterable) else []
    if not found or not all(map(callable, found)):
        wrong = next((x for x in found if not callable(x)), None)
        got = (
            "none"
            if isinstance(given, Iterable) and not found
            else type(given if wrong is None else wrong).__name__
        )
        raise ValueError(f"{what} must be a list of at least one closure; got {got}; {fix}.")
    return found


def on_minibatch(point: Point, loss: Loss, where: str) -> Point:
    """The same point of the landscape of another minibatch: its loss, and its gradients by one backward pass."""
    names = list(point.gradients or point.rates)
    seen = replace(point, loss=loss)
    return replace(seen, gradients=gradients_at(seen, dict(point.tensors), names, where))
