"""Tensors by name of m runs at once: the runs are the leading axis."""

import torch
from torch import Tensor

from isoloss.learn._tensors import Tensors


def repeated(tensors: Tensors, times: int) -> Tensors:
    """All of the batch, then all of it again, (times * n, *shape) from (n, *shape)."""
    if times == 1:
        return tensors
    return {name: x.expand(times, *x.shape).flatten(0, 1) for name, x in tensors.items()}


def beside(values: Tensor, x: Tensor) -> Tensor:
    """One value per run, (m,), with the number of axes of what the runs hold, (m, *shape)."""
    return values.reshape(-1, *(1,) * (x.dim() - 1))


def chosen(where: Tensor, a: Tensors, b: Tensors) -> Tensors:
    """Of the runs where asked for those of a, else those of b."""
    return {name: torch.where(beside(where, x), x, b[name]) for name, x in a.items()}


def norms(tensors: Tensors) -> Tensor:
    """The norm of all entries of each run, (m,)."""
    return torch.stack(
        [torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1) for x in tensors.values()]
    ).norm(dim=0)
