"""What directions may depend on: the features that they are linear combinations of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad

from isoloss.discovery.null_spaces._flat_loss import FlatLoss

Feature = Callable[[Tensor, Tensor], Tensor]
Known = Literal["linear", "affine", "gradient"]


def _linear(loss: FlatLoss) -> Feature:
    """Matrices that act on the parameters: the generators of linear groups."""
    return lambda theta, x: theta


def _affine(loss: FlatLoss) -> Feature:
    """The same, and translations."""
    return lambda theta, x: torch.cat([theta, theta.new_ones(1)])


def _gradient(loss: FlatLoss) -> Feature:
    """The gradient of the loss: what depending on the data gives for nothing."""
    if loss.outputs != 1:
        raise ValueError(
            f"{loss.where}: features='gradient' are for a loss that is one number; got {loss.outputs} outputs; "
            "take their sum of squares, or other features."
        )
    return grad(lambda theta, x: loss(theta, x)[0])


FEATURES: dict[str, Callable[[FlatLoss], Feature]] = {
    "linear": _linear,
    "affine": _affine,
    "gradient": _gradient,
}


def feature_of(features: Known | Feature, loss: FlatLoss, theta: Tensor, x: Tensor) -> Feature:
    """The function that was named, or given, tried on one sample.

    Raises:
        ValueError: If there is none of that name, or it does not give a finite vector.
    """
    if isinstance(features, str):
        if features not in FEATURES:
            raise ValueError(
                f"{loss.where}: features must be one of {', '.join(map(repr, FEATURES))}, or a function; "
                f"got {features!r}."
            )
        return FEATURES[features](loss)
    try:
        given = features(theta, x)
    except Exception as error:
        raise ValueError(
            f"{loss.where}: features must take the parameters and the data of one sample as float64 vectors, "
            f"({len(theta)},) and ({len(x)},); got {type(error).__name__}: {error}."
        ) from error
    if not isinstance(given, Tensor) or given.dim() != 1 or not given.numel() or given.dtype != theta.dtype:
        got = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)
        raise ValueError(
            f"{loss.where}: features of one sample must be a float64 vector (q,); got {got}; end with torch.cat."
        )
    return features
