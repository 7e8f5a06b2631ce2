"""Null spaces: what leaves a loss unchanged, found by linear algebra instead of training.

References:
    Dissertation, Th. 6.3.1 and section 6.5.
"""

from isoloss.discovery.null_spaces._algebra import Algebra
from isoloss.discovery.null_spaces._features import FEATURES
from isoloss.discovery.null_spaces._known import known_generators
from isoloss.discovery.null_spaces._linear_generators import LinearGenerators, linear_generators
from isoloss.discovery.null_spaces._null_space import NullSpace, null_space
from isoloss.discovery.null_spaces._principal_angles import principal_angles
from isoloss.discovery.null_spaces._unexplained import Unexplained, unexplained

__all__ = [
    "FEATURES",
    "Algebra",
    "LinearGenerators",
    "NullSpace",
    "Unexplained",
    "known_generators",
    "linear_generators",
    "null_space",
    "principal_angles",
    "unexplained",
]
