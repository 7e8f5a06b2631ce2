"""Action maps: what a group element does to parameters, on given data."""

from collections.abc import Mapping
from typing import Any

from isoloss.discovery.actions._action import Action
from isoloss.discovery.actions._affine import Affine
from isoloss.discovery.actions._anchored import Anchored
from isoloss.discovery.actions._generators import AffineGenerators, Generators, LowRankGenerators
from isoloss.discovery.actions._linear import Linear
from isoloss.discovery.actions._low_rank import LowRank
from isoloss.discovery.actions._mlp import MLP
from isoloss.discovery.actions._residual import Residual

ACTIONS: Mapping[str, type[Action]] = {
    "linear": Linear,
    "affine": Affine,
    "low-rank": LowRank,
    "mlp": MLP,
    "anchored": Anchored,
    "residual": Residual,
}
"""By name; a new action is one class and one line here."""


def action_of(name: str, params: int, data: int, options: Mapping[str, Any] | None = None) -> Action:
    """The action of a name.

    Args:
        name: A key of `ACTIONS`; "data-independent mlp" and "data-independent residual" do not read the data.
        params: p.
        data: q.
        options: Of its class.

    Raises:
        ValueError: If there is none of that name, or an option is not one of its own.
    """
    kind, options = name, dict(options or {})
    if name.startswith(FREE):
        kind, options = name.removeprefix(FREE), options | {"reads_data": False}
    if kind not in ACTIONS or (kind != name and not issubclass(ACTIONS[kind], MLP)):
        raise ValueError(
            f"discover: action must be one of {', '.join(NAMES)}, or an Action of your own; got {name!r}."
        )
    try:
        return ACTIONS[kind](params, data, **options)
    except TypeError as error:
        raise ValueError(
            f"discover: options must be those of the action {name!r}; got {', '.join(options)} ({error})."
        ) from error


FREE = "data-independent "
NAMES = (*ACTIONS, *(f"{FREE}{name}" for name, kind in ACTIONS.items() if issubclass(kind, MLP)))

__all__ = [
    "ACTIONS",
    "MLP",
    "NAMES",
    "Action",
    "Affine",
    "AffineGenerators",
    "Anchored",
    "Generators",
    "Linear",
    "LowRank",
    "LowRankGenerators",
    "Residual",
    "action_of",
]
