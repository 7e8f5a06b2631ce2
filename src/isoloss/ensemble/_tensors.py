"""Copies of a module in which some tensors are others."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isoloss.symmetry import named_tensors


def with_tensors(model: nn.Module, new: Mapping[str, Tensor], where: str = "Ensemble") -> nn.Module:
    """A copy of the model that has these tensors, of any shape, in place of its own of the same names.

    Whatever refers to a tensor refers to the new one: tied weights stay tied. Tensors that are not named are copied.

    Args:
        model: The model; left as it is.
        new: Values by name, of parameters or buffers; the copy shares their memory.
        where: Name of the caller, for the message.

    Raises:
        ValueError: If the model cannot be copied.
    """
    memo: dict[int, object] = {}
    for name, old in named_tensors(model).items():
        if name in new:
            value = new[name].detach()
            parameter = isinstance(old, nn.Parameter)
            memo[id(old)] = nn.Parameter(value, requires_grad=old.requires_grad) if parameter else value
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(
            f"{where}: the model must be one that copy.deepcopy can copy; got {type(model).__name__}, which it cannot "
            f"({_first_line(error)}); replace legacy weight_norm or spectral_norm by torch.nn.utils.parametrizations."
        ) from error


def equal(a: Tensor, b: Tensor) -> bool:
    """Are they the same, value by value, nan included?"""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def stacked(values: list[Tensor]) -> Tensor:
    """Tensors of one shape in one, along a new first dimension."""
    return torch.stack([v.detach() for v in values])


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
