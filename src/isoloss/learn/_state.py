"""What a meta-optimizer remembers between steps: tensors by name, each with a leading axis over the tasks."""

from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]


def part_of(state: Mapping[str, Tensor], prefix: str) -> State:
    """The entries under a prefix, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries with a prefix."""
    return {f"{prefix}/{name}": value for name, value in state.items()}


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, cut from the graph."""
    return {name: value.detach() for name, value in tensors.items()}
