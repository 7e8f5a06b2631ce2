"""Data-parallel training: all ranks move alike, and judge by the mean of their losses."""

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from isoloss.teleport.solvers import Solution


def several() -> bool:
    """Does more than one process train?"""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def averaged_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their mean over the ranks, as data-parallel training does with gradients."""
    if several():
        for t in tensors:
            dist.all_reduce(t)
            t.div_(dist.get_world_size())


def agreed(solution: Solution) -> Solution:
    """The first rank's solution, for every rank: evaluated on different minibatches, they would differ."""
    if not several():
        return solution
    home = solution.before.device
    sent = [_onto(solution, torch.device("cpu"))]
    dist.broadcast_object_list(sent, src=0)
    return _onto(sent[0], home)


def _onto(solution: Solution, device: torch.device) -> Solution:
    displaced, gradients = (
        None if tensors is None else {n: t.detach().to(device) for n, t in tensors.items()}
        for tensors in (solution.displaced, solution.gradients)
    )
    return replace(
        solution,
        elements=[None if g is None else g.detach().to(device) for g in solution.elements],
        displaced=displaced,
        gradients=gradients,
        **{name: getattr(solution, name).detach().to(device) for name in ("before", "after", "size")},
    )
