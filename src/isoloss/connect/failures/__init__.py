"""Minima built so that the straight line between them fails, or cannot fail: Propositions 3.3.3 to 3.3.6."""

from isoloss.connect.failures._homogeneous import (
    HomogeneousRegression,
    bounded_barrier,
    permutations,
    permuted_losses,
    unbounded_barrier,
    unbounded_barrier_permuted,
)
from isoloss.connect.failures._product import distance_bound, distant_factors

__all__ = [
    "HomogeneousRegression",
    "bounded_barrier",
    "distance_bound",
    "distant_factors",
    "permutations",
    "permuted_losses",
    "unbounded_barrier",
    "unbounded_barrier_permuted",
]
