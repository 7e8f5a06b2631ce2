"""Moves that no group element describes: new values are written, and gradients are computed anew."""

from collections.abc import Mapping

import torch
from torch import Tensor

from isoloss.teleport._move import Move
from isoloss.teleport._point import Point
from isoloss.teleport._ranks import averaged_


def displacement(
    point: Point, displaced: Mapping[str, Tensor], gradients: Mapping[str, Tensor] | None, where: str
) -> Move:
    """Collect what has to be written so that parameters take new values, and gradients those that belong to them.

    No element, so no transport: what the gradients are at the new point is known from the solver, or from one
    forward and backward pass.

    Args:
        point: Where the training is.
        displaced: New values of parameters and buffers, by name.
        gradients: Gradients there, if known.
        where: Name of the caller, for messages.

    Returns:
        The move, yet to be committed.

    Raises:
        ValueError: If a name is none of the point's, or there are gradients and nothing to compute them from.
    """
    if unknown := sorted(displaced.keys() - point.tensors.keys()):
        raise ValueError(
            f"{where}: a solver displaces what the optimizer trains; got {', '.join(unknown)}; "
            f"its names are those of point.tensors."
        )
    move = Move(where)
    for name, new in displaced.items():
        move.replace(name, point.tensors[name], new)
    known = {} if gradients is None else dict(gradients)
    if missing := [name for name in point.gradients if name not in known]:
        known |= gradients_at(point, dict(point.tensors) | dict(displaced), missing, where)
    for name, target in point.gradients.items():
        move.replace(f"gradient of {name}", target, known[name])
    return move


def gradients_at(
    point: Point, tensors: Mapping[str, Tensor], names: list[str], where: str
) -> dict[str, Tensor]:
    """Gradients of the loss at other tensors: one forward and one backward pass.

    Raises:
        ValueError: If the point has no loss.
    """
    loss = point.loss_for(where)
    here = {n: t.detach().to(point.tensors[n].dtype) for n, t in tensors.items()}
    here |= {n: here[n].clone().requires_grad_() for n in names}
    with torch.enable_grad():
        found = torch.autograd.grad(loss(here), [here[n] for n in names], allow_unused=True)
    full = [torch.zeros_like(here[n]) if g is None else g for n, g in zip(names, found, strict=True)]
    averaged_(full)
    return dict(zip(names, full, strict=True))
