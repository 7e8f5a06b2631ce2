"""Solvers, one per file; `SOLVERS` lists them by the name that a command line would use."""

from isoloss.teleport.solvers._discrete_search import DiscreteSearch
from isoloss.teleport.solvers._lie_ascent import LieAscent
from isoloss.teleport.solvers._random_search import RandomSearch
from isoloss.teleport.solvers._random_teleport import RandomTeleport
from isoloss.teleport.solvers._solver import Solution, Solver
from isoloss.teleport.solvers._tangent_ascent import TangentAscent
from isoloss.teleport.solvers._transported_ascent import TransportedAscent

SOLVERS: dict[str, type[Solver]] = {
    "transported-ascent": TransportedAscent,
    "lie-ascent": LieAscent,
    "tangent-ascent": TangentAscent,
    "random-teleport": RandomTeleport,
    "random-search": RandomSearch,
    "discrete-search": DiscreteSearch,
}

__all__ = [
    "SOLVERS",
    "DiscreteSearch",
    "LieAscent",
    "RandomSearch",
    "RandomTeleport",
    "Solution",
    "Solver",
    "TangentAscent",
    "TransportedAscent",
]
