"""Settings that solvers share, refused with one sentence where they are wrong."""

from math import inf
from typing import Any

from isoloss._checks import is_size, is_whole


def check_counts(solver: Any, *names: str, least: int = 1) -> None:
    """Refuse settings that are no whole numbers, or too small.

    Raises:
        ValueError: If there is one.
    """
    for name in names:
        value = getattr(solver, name)
        if not is_whole(value, least):
            raise ValueError(
                f"{type(solver).__name__}: {name} must be a whole number of at least {least}; got {value!r}; "
                "the default is for training."
            )


def check_rate(solver: Any) -> None:
    """Refuse a rate that is neither None nor a positive number.

    Raises:
        ValueError: If it is.
    """
    rate = solver.rate
    if rate is not None and not (is_size(rate) and 0.0 < rate < inf):
        raise ValueError(
            f"{type(solver).__name__}: rate must be a positive number, or None; got {rate!r}; "
            "None makes every step radius / steps long."
        )


def check_switch(solver: Any, name: str) -> None:
    """Refuse what says neither yes nor no: a text would count as yes.

    Raises:
        ValueError: If it is neither True nor False.
    """
    value = getattr(solver, name)
    if not isinstance(value, bool):
        raise ValueError(
            f"{type(solver).__name__}: {name} must be True or False; got {value!r}; False is the default."
        )


def check_length(who: str, radius: float, rate: float | None) -> None:
    """Refuse an ascent whose steps have no length.

    Raises:
        ValueError: If neither the radius nor a rate says how long a step is.
    """
    if radius == inf and rate is None:
        raise ValueError(
            f"{who}: a step of an ascent must have a length; got radius inf and no rate; give one of the two."
        )


def check_finite(who: str, radius: float) -> None:
    """Refuse a radius that bounds nothing.

    Raises:
        ValueError: If it is infinite.
    """
    if not radius < inf:
        raise ValueError(f"{who}: the radius must be finite; got {radius}; give Teleport(..., radius=0.1).")
