"""Solvers, one per file; `SOLVERS` lists them by the name that a command line would use."""

from isoloss.teleport.solvers._dependent_ascent import DependentAscent
from isoloss.teleport.solvers._solver import Solution, Solver
from isoloss.teleport.solvers._transported_ascent import TransportedAscent

SOLVERS: dict[str, type[Solver]] = {
    "dependent-ascent": DependentAscent,
    "transported-ascent": TransportedAscent,
}

__all__ = ["SOLVERS", "DependentAscent", "Solution", "Solver", "TransportedAscent"]
