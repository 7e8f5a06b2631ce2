"""The null space of a Jacobian over more and more inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from isoloss.finding._complement import BLOCK, Complement, Null
from isoloss.finding._jacobian import Jacobian

# Doublings of the number of inputs without change after which the null space counts as known, and the least number.
PATIENCE, LEAST = 2, 16
# Between singular values closer than this a cut is a guess; more inputs may part them.
CLEAR = 1e4
Arguments = tuple[tuple, dict[str, Any]]


class Seen(NamedTuple):
    """What looking at more and more inputs led to."""

    null: Null
    inputs: int
    plateaued: bool
    gap: float
    history: list[tuple[int, int]]


def look(
    space: Complement,
    jacobian: Jacobian,
    rows: Tensor,
    draws: Iterator[Arguments],
    budget: int,
    visible: float,
    where: str = "certificate",
) -> Seen:
    """Double the number of inputs until the null space stays as it is, or the budget is spent.

    Args:
        space: What the null space is looked for in; it shrinks.
        jacobian: Rows at an input.
        rows: Those at the first input.
        draws: Further inputs.
        budget: At most so many, the first among them.
        visible: What rounding leaves of directions that are known to be invisible.
        where: Who asks, for messages.
    """
    inputs, found, history = 1, iter([rows]), []
    while True:
        for block in found:
            space.add(block)
        null = space.null()
        history.append((inputs, null.dimension))
        recent = {left for _, left in history[-PATIENCE - 1 :]}
        settled = not null.dimension or (inputs >= LEAST and len(history) > PATIENCE and len(recent) == 1)
        gap = null.kept / max(null.dropped, visible)
        more = min(inputs, budget - inputs)
        if (settled and gap >= CLEAR) or more <= 0:
            return Seen(null, inputs, settled and gap >= CLEAR, gap, history)
        found, inputs = _blocks(jacobian, islice(draws, more), where), inputs + more


def _blocks(jacobian: Jacobian, draws: Iterable[Arguments], where: str) -> Iterator[Tensor]:
    """Rows over these inputs, some hundred at a time."""
    waiting: list[Tensor] = []
    for args, kwargs in draws:
        waiting.append(rows_at(jacobian, args, kwargs, where))
        if sum(map(len, waiting)) >= BLOCK:
            yield torch.cat(waiting)
            waiting = []
    yield torch.cat([*waiting, torch.zeros(0, jacobian.columns, dtype=torch.float64)])


def rows_at(jacobian: Jacobian, args: tuple, kwargs: dict[str, Any], where: str = "certificate") -> Tensor:
    """The rows at one input.

    Raises:
        ValueError: If the model cannot run on it.
    """
    try:
        return jacobian.rows(args, kwargs)
    except Exception as error:
        raise ValueError(
            f"{where}: the model must run, and be differentiable, on random inputs like the example; "
            f"got {type(error).__name__}: {error}; pass vocabulary= if integers must stay below a number, or "
            "take a module that takes such inputs."
        ) from error


def draws(
    args: tuple, kwargs: dict[str, Any], vocabulary: int | None, random: torch.Generator
) -> Iterator[Arguments]:
    """Inputs like the example, without end: floats normal, of log-normal size, integers uniform, the rest as it is."""

    def like(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.numel() or x.dtype == torch.bool:
            return x
        if x.is_floating_point():
            if bool(((x == 0) | (x == 1) | x.isinf()).all()):
                return x
            size = (
                x[x.isfinite()].square().mean().sqrt()
                * torch.randn((), generator=random, dtype=x.dtype).exp()
            )
            return size * torch.randn(x.shape, generator=random, dtype=x.dtype).to(x.device)
        if vocabulary is None and bool((x == x.flatten()[0]).all()):
            return x
        drawn = torch.randint(vocabulary or int(x.max()) + 1, x.shape, generator=random, dtype=x.dtype)
        return drawn.to(x.device)

    while True:
        yield tree_map(like, (args, kwargs))
