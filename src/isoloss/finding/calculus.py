"""The verbs that rules are written in, for those who add a rule of their own."""

from isoloss.finding._abstract import Misfit
from isoloss.finding._calculus import (
    add,
    contract,
    elementwise,
    freeze,
    multiply,
    normalise,
    pointwise,
    reduce,
    squared,
)
from isoloss.finding._shape import cat, expand, narrow, permute, select, unsqueeze, view

__all__ = [
    "Misfit",
    "add",
    "cat",
    "contract",
    "elementwise",
    "expand",
    "freeze",
    "multiply",
    "narrow",
    "normalise",
    "permute",
    "pointwise",
    "reduce",
    "select",
    "squared",
    "unsqueeze",
    "view",
]
