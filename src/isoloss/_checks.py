"""Questions that arguments are asked, before anything is done with them."""

import inspect
from collections.abc import Callable
from math import isfinite, isnan
from numbers import Integral, Real
from typing import Any

from torch import Tensor


def holds(condition: Tensor) -> bool:
    """Is the condition true everywhere? Yes where nobody can know: inside ``torch.func.vmap`` values are hidden."""
    try:
        return bool(condition.all())
    except RuntimeError:
        return True


def is_whole(value: Any, least: int = 0) -> bool:
    """Is it an integer, numpy's included, and at least that? True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_size(value: Any) -> bool:
    """Is it a real number that is not negative, nor nan? It may be infinite."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and not isnan(value) and float(value) >= 0.0


def is_length(value: Any) -> bool:
    """Is it a finite real number, of whatever sign?"""
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def signature(function: Callable) -> inspect.Signature | None:
    """The arguments that a function takes; None for built-in ones that do not say."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def takes(function: Callable, count: int) -> bool:
    """Can it be called with so many positional arguments? As far as it says."""
    known = signature(function)
    try:
        return known is None or known.bind(*[None] * count) is not None
    except TypeError:
        return False
