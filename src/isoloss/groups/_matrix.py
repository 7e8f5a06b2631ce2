"""A matrix, or a batch of them, moving the last axis of a tensor."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from isoloss.groups._group import widen


def multiply(g: Tensor, x: Tensor) -> Tensor:
    """Return g x for g ``(*batch, n, n)`` and vectors along the last axis of x ``(*batch, *rest, n)``."""
    return _by_rows(lambda rows: rows @ g.mT, g, x)


def multiply_contragredient(g: Tensor, x: Tensor) -> Tensor:
    """Return g^-T x; a row r of it solves r g = x, so that no inverse is formed.

    Raises:
        ValueError: If g is singular.
    """
    try:
        return _by_rows(lambda rows: torch.linalg.solve(widen(g), widen(rows), left=False), g, x)
    except torch.linalg.LinAlgError as error:
        raise _singular("act", error) from error


def inverse(g: Tensor) -> Tensor:
    """Return g^-1, in the dtype of g or in float32 if that is narrower.

    Raises:
        ValueError: If g is singular.
    """
    try:
        return torch.linalg.inv(widen(g))
    except torch.linalg.LinAlgError as error:
        raise _singular("inverse", error) from error


def _singular(where: str, error: RuntimeError) -> ValueError:
    return ValueError(
        f"{where}: matrices must be invertible; got a singular one ({str(error).rstrip('.')}); "
        "ask contains(g) of its group beforehand."
    )


def _by_rows(move: Callable[[Tensor], Tensor], g: Tensor, x: Tensor) -> Tensor:
    # One matrix product over all rows: broadcasting g over rest would copy it once per row.
    batch = g.dim() - 2
    rows = x.reshape(*x.shape[:batch], math.prod(x.shape[batch:-1]), x.shape[-1])
    moved = move(rows)
    return moved.reshape(*moved.shape[:-2], *x.shape[batch:])


def one_by_one(f: Callable[[Tensor], Tensor], g: Tensor) -> Tensor:
    """Apply f to each matrix of g ``(*batch, n, n)`` in float64, and stack the results in the dtype of g."""
    if g.numel() == 0:
        return torch.zeros_like(g)
    matrices = g.double().reshape(-1, *g.shape[-2:])
    return torch.stack([f(m) for m in matrices]).reshape(g.shape).to(g.dtype)
