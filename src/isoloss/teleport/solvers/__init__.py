"""Solvers, one per file; `SOLVERS` lists them by the name that a command line would use."""

from isoloss.teleport.solvers._dependent_ascent import DependentAscent
from isoloss.teleport.solvers._discrete_search import DiscreteSearch
from isoloss.teleport.solvers._level_set_ascent import LevelSetAscent
from isoloss.teleport.solvers._lie_ascent import LieAscent
from isoloss.teleport.solvers._null_space_projection import NullSpaceProjection
from isoloss.teleport.solvers._quadratic_form import QuadraticForm
from isoloss.teleport.solvers._random_search import RandomSearch
from isoloss.teleport.solvers._random_teleport import RandomTeleport
from isoloss.teleport.solvers._solver import Solution, Solver
from isoloss.teleport.solvers._tangent_ascent import TangentAscent
from isoloss.teleport.solvers._transported_ascent import TransportedAscent

SOLVERS: dict[str, type[Solver]] = {
    "dependent-ascent": DependentAscent,
    "transported-ascent": TransportedAscent,
    "lie-ascent": LieAscent,
    "tangent-ascent": TangentAscent,
    "random-teleport": RandomTeleport,
    "random-search": RandomSearch,
    "discrete-search": DiscreteSearch,
    "level-set-ascent": LevelSetAscent,
    "null-space-projection": NullSpaceProjection,
    "quadratic-form": QuadraticForm,
}

__all__ = [
    "SOLVERS",
    "DependentAscent",
    "DiscreteSearch",
    "LevelSetAscent",
    "LieAscent",
    "NullSpaceProjection",
    "QuadraticForm",
    "RandomSearch",
    "RandomTeleport",
    "Solution",
    "Solver",
    "TangentAscent",
    "TransportedAscent",
]
