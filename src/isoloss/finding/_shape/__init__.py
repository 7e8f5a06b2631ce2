"""Moving axes about: views, permutations, slices, concatenations of abstract tensors."""

from isoloss.finding._shape._axes import drop, expand, permute, unsqueeze
from isoloss.finding._shape._cat import cat, told_apart, weld
from isoloss.finding._shape._cut import cut
from isoloss.finding._shape._parts import joined, parts_of, rebuilt, resolve, touch
from isoloss.finding._shape._seams import FEW, common, leading, meet, outer_size, seams
from isoloss.finding._shape._select import blur, constant_along, narrow, select
from isoloss.finding._shape._view import view

__all__ = [
    "FEW",
    "blur",
    "cat",
    "common",
    "constant_along",
    "cut",
    "drop",
    "expand",
    "joined",
    "leading",
    "meet",
    "narrow",
    "outer_size",
    "parts_of",
    "permute",
    "rebuilt",
    "resolve",
    "seams",
    "select",
    "told_apart",
    "touch",
    "unsqueeze",
    "view",
    "weld",
]
