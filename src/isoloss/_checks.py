"""Questions that arguments are asked, before anything is done with them."""

from math import isnan
from numbers import Integral, Real
from typing import Any


def is_whole(value: Any, least: int = 0) -> bool:
    """Is it an integer, numpy's included, and at least that? True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_size(value: Any) -> bool:
    """Is it a real number that is not negative, nor nan? It may be infinite."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and not isnan(value) and float(value) >= 0.0
