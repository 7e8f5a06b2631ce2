"""Teleportation: jumps along the level set of the loss, while training, at almost no cost."""

from isoloss.teleport._jump import Jump
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport._schedule import Schedule, always, at, every, first
from isoloss.teleport._teleport import Teleport
from isoloss.teleport.objectives import OBJECTIVES, Balance, GradientNorm, Objective
from isoloss.teleport.solvers import SOLVERS, DependentAscent, Solution, Solver, TransportedAscent

__all__ = [
    "OBJECTIVES",
    "SOLVERS",
    "Balance",
    "DependentAscent",
    "GradientNorm",
    "Jump",
    "Objective",
    "Point",
    "Quadratic",
    "Schedule",
    "Solution",
    "Solver",
    "Teleport",
    "TransportedAscent",
    "always",
    "at",
    "every",
    "first",
]
