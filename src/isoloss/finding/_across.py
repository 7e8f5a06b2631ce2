"""The tangent space of an orbit beside the rows of a Jacobian: which coordinates count, and what lies across."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isoloss.finding._complement import Complement
from isoloss.finding._growth import rows_at
from isoloss.finding._jacobian import Jacobian
from isoloss.finding._tangents import tangents
from isoloss.symmetry import Symmetry, named_tensors

# A direction of the orbit that changes the outputs by more than this, relative to what the outputs do along the
# direction that moves them most, belongs to no exact symmetry.
INVISIBLE = 1e-9
# A parameter is named if it has this share of some directions, squared norm.
SHARE = 0.01


def coordinates(twin: nn.Module, exact: list[Symmetry], held: set[str]) -> dict[str, Tensor]:
    """The tensors that count: parameters that are not held, and buffers that move with a symmetry."""
    moved = {n for s in exact for n in s.parameters}
    parameters = {n: p for n, p in twin.named_parameters() if n not in held}
    return parameters | {n: b for n, b in twin.named_buffers() if n in moved}


def at_example(
    jacobian: Jacobian, args: tuple, kwargs: dict[str, Any], where: str = "certificate"
) -> tuple[Jacobian, Tensor]:
    """The Jacobian without the buffers that the outputs do not see (running means in training), and its rows."""
    rows = rows_at(jacobian, args, kwargs, where)
    parameters = {n for n, _ in jacobian.twin.named_parameters()}
    blocks = rows.split([t.numel() for t in jacobian.tensors.values()], 1)
    named = list(zip(jacobian.tensors.items(), blocks, strict=True))
    kept = {n: t for (n, t), block in named if n in parameters or bool(block.any())}
    rows = torch.cat([block for (n, _), block in named if n in kept], 1)
    return Jacobian(jacobian.twin, kept, jacobian.random), rows


def across(
    exact: list[Symmetry], jacobian: Jacobian, rows: Tensor, where: str = "certificate"
) -> tuple[Tensor, float]:
    """A basis of what is orthogonal to the orbit, and how much the rows see of the orbit: rounding.

    Raises:
        ValueError: If they see more than that.
    """
    unit = max(rows.norm(dim=1).tolist(), default=0.0) or 1.0
    space, visible = Complement(torch.eye(jacobian.columns, dtype=torch.float64)), 0.0
    tensors = {n: t.detach().cpu() for n, t in named_tensors(jacobian.twin).items()}
    for symmetry in exact:
        found = tangents(symmetry, tensors, jacobian.tensors)
        visible = max(visible, _seen(symmetry, rows @ found.T / unit, where))
        space.add(found)
    return space.directions(), visible


def _seen(symmetry: Symmetry, slopes: Tensor, where: str) -> float:
    change = float(slopes.abs().max()) if slopes.numel() else 0.0
    if change <= INVISIBLE:
        return change
    raise ValueError(
        f"{where}: an exact symmetry must not change the outputs; got {symmetry.name} on "
        f"{', '.join(symmetry.parameters[:3])}, which does to first order, by {change:.0e}; "
        "find the symmetries of this very model, or give this one exact=False."
    )


def along(basis: Tensor, tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """Names of the tensors in whose coordinates these vectors mostly lie, the largest share first."""
    if not basis.shape[1]:
        return ()
    blocks = basis.square().sum(1).split([t.numel() for t in tensors.values()])
    share = {n: float(b.sum()) / basis.shape[1] for n, b in zip(tensors, blocks, strict=True)}
    return tuple(n for n in sorted(share, key=lambda n: -share[n]) if share[n] >= SHARE)
