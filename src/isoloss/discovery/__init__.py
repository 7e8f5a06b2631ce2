"""Symmetries that nobody has derived, discovered from the loss alone.

References:
    Dissertation, Chapter 6 and Appendix D.
"""

from isoloss.discovery import actions, extension, null_spaces, terms
from isoloss.discovery._discover import DivergenceError, discover
from isoloss.discovery._discovery import Discovery
from isoloss.discovery._grade import Grade
from isoloss.discovery._invariance import Invariance
from isoloss.discovery._loss import Loss
from isoloss.discovery._module import around, initializations, module_loss
from isoloss.discovery._recipe import Recipe
from isoloss.discovery._sampler import Sample, normal
from isoloss.discovery._space import Space
from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery._training import Record
from isoloss.discovery.extension import extend, restrict
from isoloss.discovery.null_spaces import (
    LinearGenerators,
    NullSpace,
    Unexplained,
    linear_generators,
    null_space,
    principal_angles,
    unexplained,
)

__all__ = [
    "DiscoveredSymmetry",
    "Discovery",
    "DivergenceError",
    "Grade",
    "Invariance",
    "LinearGenerators",
    "Loss",
    "NullSpace",
    "Recipe",
    "Record",
    "Sample",
    "Space",
    "Unexplained",
    "actions",
    "around",
    "discover",
    "extend",
    "extension",
    "initializations",
    "linear_generators",
    "module_loss",
    "normal",
    "null_space",
    "null_spaces",
    "principal_angles",
    "restrict",
    "terms",
    "unexplained",
]
