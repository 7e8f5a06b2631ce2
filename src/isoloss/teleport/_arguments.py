"""What a teleport is given, checked before it is used: a sentence for every mistake."""

from collections.abc import Mapping
from math import inf
from typing import Any, TypeVar

import torch
from torch import Tensor

from isoloss._checks import is_size, is_whole, signature, takes
from isoloss.symmetry import Symmetries
from isoloss.teleport.objectives import Objective

T = TypeVar("T")

NEEDED = {
    "objective": ("name", "radius", "passes", "needs_gradients", "lower"),
    "solver": ("uses", "solve"),
}


def chosen(argument: str, value: T | str | None, registry: Mapping[str, type[T]], default: type[T]) -> T:
    """The objective or solver meant: itself, by its name in the registry, or the default for None.

    Raises:
        ValueError: If the name is not known, or the value is none of what `NEEDED` describes.
    """
    if value is None:
        return default()
    if isinstance(value, str):
        if value not in registry:
            raise ValueError(
                f"Teleport: {argument} must be known by its name; got {value!r}; "
                f"choose one of {', '.join(registry)}, or pass an object."
            )
        try:
            return registry[value]()
        except TypeError as error:
            raise ValueError(
                f"Teleport: {argument} {value} must be given what it needs; got its name alone; "
                f"pass an object, {registry[value].__name__}(...)."
            ) from error
    missing = [name for name in NEEDED[argument] if not hasattr(value, name)]
    if isinstance(value, type) or missing:
        lacks = f"without {', '.join(missing)}" if missing else "that was not called"
        name = value.__name__ if isinstance(value, type) else type(value).__name__
        raise ValueError(
            f"Teleport: {argument} must be an object with {', '.join(NEEDED[argument])}; got {name}, {lacks}; "
            f"pass {default.__name__}(), or a name: {', '.join(registry)}."
        )
    return value


def checked_radius(radius: float | None, objective: Objective) -> float:
    """The radius, the objective's own if it is None.

    Raises:
        ValueError: If it is no number, negative, nan, or infinite for a sum of squares that is to be raised.
    """
    radius = objective.radius if radius is None else radius
    if not is_size(radius):
        raise ValueError(
            f"Teleport: radius must be a number that is not negative; got {radius!r}; "
            "to go where the objective is lower, say so: GradientNorm(lower=True)."
        )
    if radius == inf and not objective.lower and hasattr(objective, "form"):
        raise ValueError(
            f"Teleport: the objective {objective.name} has no maximum on an orbit; got radius inf; "
            "give a finite radius."
        )
    return float(radius)


def check_parts(optimizer: Any, symmetries: Any, schedule: Any, generator: Any) -> None:
    """Refuse what is mistaken for another argument.

    Raises:
        ValueError: If one of them is not of its kind.
    """
    rules = {
        "optimizer": (
            optimizer,
            hasattr(optimizer, "param_groups"),
            "a torch optimizer",
            "the model goes to find()",
        ),
        "symmetries": (
            symmetries,
            isinstance(symmetries, Symmetries),
            "Symmetries",
            "pass what find() returned",
        ),
        "schedule": (
            schedule,
            callable(schedule) and not isinstance(schedule, type) and takes(schedule, 1),
            "a function of the step",
            "write every(5), at(0, 100), always",
        ),
        "generator": (
            generator,
            generator is None or isinstance(generator, torch.Generator),
            "a torch.Generator",
            "write torch.Generator().manual_seed(0)",
        ),
    }
    for argument, (value, fits, rule, fix) in rules.items():
        if not fits:
            raise ValueError(f"Teleport: {argument} must be {rule}; got {_brief(value)}; {fix}.")


def check_closure(argument: str, value: Any, fix: str) -> None:
    """Refuse what is no function without arguments; None is none given.

    Raises:
        ValueError: If it is called with something, or not at all.
    """
    if value is not None and not (callable(value) and takes(value, 0)):
        got = str(signature(value)) if callable(value) else type(value).__name__
        raise ValueError(f"Teleport: {argument} must be a function without arguments; got {got}; give {fix}.")


def check_state(state: Any, generator: torch.Generator | None) -> None:
    """Refuse a saved state that is none, or not one of such a teleport.

    Raises:
        ValueError: If an entry is missing or of another kind, or there is a generator's state without a generator
            or the reverse.
    """
    where = "Teleport.load_state_dict"
    if not isinstance(state, Mapping) or not {"steps", "jumps", "generator"} <= state.keys():
        got = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"{where}: needs steps, jumps and generator; got {got}; pass what state_dict() returned."
        )
    for name in ("steps", "jumps"):
        if not is_whole(state[name]):
            raise ValueError(
                f"{where}: {name} must be a whole number; got {_brief(state[name])}; pass what state_dict() returned."
            )
    drawn = state["generator"]
    if (drawn is None) != (generator is None):
        raise ValueError(
            f"{where}: the generator's state must go to a generator; got one without the other; "
            "give generator=torch.Generator() exactly if the saved teleport had one."
        )
    if drawn is not None and generator is not None:
        fits = isinstance(drawn, Tensor) and drawn.dtype == torch.uint8
        if not fits or drawn.shape != generator.get_state().shape:
            raise ValueError(
                f"{where}: generator must be the state of one on {generator.device}; got {_brief(drawn)}; "
                "pass what state_dict() returned."
            )


def _brief(value: Any) -> str:
    """A short value itself, of another its type."""
    shown = repr(value)
    return shown if len(shown) <= 20 else type(value).__name__
