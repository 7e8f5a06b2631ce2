"""The terms of the objective: what a symmetry, a group action, and a readable one have to satisfy."""

from collections.abc import Callable, Mapping

from torch import Tensor

from isoloss.discovery._local import Local
from isoloss.discovery.terms._associativity import associativity
from isoloss.discovery.terms._identity import identity
from isoloss.discovery.terms._independence import independence
from isoloss.discovery.terms._invariance import invariance
from isoloss.discovery.terms._norm import norm
from isoloss.discovery.terms._orthogonality import orthogonality
from isoloss.discovery.terms._relative_invariance import relative_invariance
from isoloss.discovery.terms._sparsity import sparsity

Term = Callable[[Local, float], Tensor]
"""From an action somewhere, and the length beta that directions should have, to a number to be small."""

TERMS: Mapping[str, Term] = {
    "invariance": invariance,
    "relative_invariance": relative_invariance,
    "identity": identity,
    "associativity": associativity,
    "norm": norm,
    "orthogonality": orthogonality,
    "independence": independence,
    "sparsity": sparsity,
}
"""By name; a new term is one file and one line here."""

__all__ = [
    "TERMS",
    "Term",
    "associativity",
    "identity",
    "independence",
    "invariance",
    "norm",
    "orthogonality",
    "relative_invariance",
    "sparsity",
]
