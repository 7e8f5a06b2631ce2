"""Teleports found on other minibatches than the one that the optimizer is about to use."""

from collections.abc import Sequence
from dataclasses import replace

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
    closures = list(closures)
    if not closures:
        raise ValueError("averaged: needs a closure at least; got none; pass one per minibatch.")

    def mean() -> Tensor:
        return torch.stack([closure().reshape(()) for closure in closures]).mean()

    return mean


def on_minibatch(point: Point, loss: Loss, where: str) -> Point:
    """The same point of the landscape of another minibatch: its loss, and its gradients by one backward pass."""
    names = list(point.gradients or point.rates)
    seen = replace(point, loss=loss)
    return replace(seen, gradients=gradients_at(seen, dict(point.tensors), names, where))
