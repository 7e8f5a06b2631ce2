"""Teleportation: jumps along the level set of the loss, while training, at almost no cost."""

from isoloss.teleport import curves, theory
from isoloss.teleport._jump import Jump
from isoloss.teleport._loss import Loss
from isoloss.teleport._minibatches import averaged
from isoloss.teleport._moved_inputs import MovedInputs
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import Quadratic
from isoloss.teleport._schedule import Schedule, always, at, epochs, every, first
from isoloss.teleport._teleport import Teleport
from isoloss.teleport.objectives import (
    OBJECTIVES,
    Balance,
    Curvature,
    Custom,
    Distance,
    GradientNorm,
    Mahalanobis,
    Objective,
    PredictedDecrease,
    Sharpness,
)
from isoloss.teleport.solvers import (
    SOLVERS,
    DependentAscent,
    DiscreteSearch,
    LevelSetAscent,
    LieAscent,
    NullSpaceProjection,
    QuadraticForm,
    RandomSearch,
    RandomTeleport,
    Solution,
    Solver,
    TangentAscent,
    TransportedAscent,
)

__all__ = [
    "OBJECTIVES",
    "SOLVERS",
    "Balance",
    "Curvature",
    "Custom",
    "DiscreteSearch",
    "Distance",
    "DependentAscent",
    "GradientNorm",
    "Jump",
    "LevelSetAscent",
    "LieAscent",
    "Loss",
    "Mahalanobis",
    "MovedInputs",
    "NullSpaceProjection",
    "Objective",
    "Point",
    "PredictedDecrease",
    "Quadratic",
    "QuadraticForm",
    "RandomSearch",
    "RandomTeleport",
    "Schedule",
    "Sharpness",
    "Solution",
    "Solver",
    "TangentAscent",
    "Teleport",
    "TransportedAscent",
    "always",
    "at",
    "averaged",
    "curves",
    "epochs",
    "every",
    "first",
    "theory",
]
