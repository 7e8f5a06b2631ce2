"""What checkpoints share: tensors by their owner, an optimizer's memory, and whose training wrote them."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def memory(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, under names that begin with "adam/"."""
    state = optimizer.state_dict()["state"]
    return {f"adam/{i}/{name}": value for i, held in state.items() for name, value in held.items()}


def restore_memory(optimizer: torch.optim.Optimizer, held: Mapping[str, Tensor]) -> None:
    """Give an optimizer back what it remembered.

    Args:
        optimizer: Of the same parameters.
        held: What `memory` gave, without "adam/".
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in held.items():
        i, _, key = name.partition("/")
        state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def by_owner(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors called "owner/name", by owner, then by name."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        owner, _, rest = name.partition("/")
        parts.setdefault(owner, {})[rest] = value
    return parts


def differing(wrote: Mapping[str, Any], context: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two trainings differ, one of them as read from JSON."""
    context = json.loads(json.dumps(context))
    return sorted(key for key in context.keys() | wrote.keys() if wrote.get(key) != context.get(key))
