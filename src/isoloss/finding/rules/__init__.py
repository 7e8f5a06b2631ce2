"""One small rule per op: what it does to abstract tensors. Importing this package registers them all."""

from isoloss.finding.rules import (
    _arithmetic,
    _elementwise,
    _index,
    _linear,
    _norm,
    _reduction,
    _shape,
    _spatial,
)
from isoloss.finding.rules._registry import LAZY, RULES, Context, name_of, rule

__all__ = [
    "LAZY",
    "RULES",
    "Context",
    "_arithmetic",
    "_elementwise",
    "_index",
    "_linear",
    "_norm",
    "_reduction",
    "_shape",
    "_spatial",
    "name_of",
    "rule",
]
