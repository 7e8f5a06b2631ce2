"""Objectives, one per file; `OBJECTIVES` lists them by the name that a command line would use."""

from isoloss.teleport.objectives._balance import Balance
from isoloss.teleport.objectives._curvature import Curvature
from isoloss.teleport.objectives._custom import Custom
from isoloss.teleport.objectives._distance import Distance
from isoloss.teleport.objectives._gradient_norm import GradientNorm
from isoloss.teleport.objectives._mahalanobis import Mahalanobis
from isoloss.teleport.objectives._objective import Objective, QuadraticObjective, ScalingObjective
from isoloss.teleport.objectives._predicted_decrease import PredictedDecrease
from isoloss.teleport.objectives._sharpness import Sharpness

OBJECTIVES: dict[str, type[Objective]] = {
    "gradient-norm": GradientNorm,
    "balance": Balance,
    "mahalanobis": Mahalanobis,
    "predicted-decrease": PredictedDecrease,
    "sharpness": Sharpness,
    "curvature": Curvature,
    "distance": Distance,
    "custom": Custom,
}

__all__ = [
    "OBJECTIVES",
    "Balance",
    "Curvature",
    "Custom",
    "Distance",
    "GradientNorm",
    "Mahalanobis",
    "Objective",
    "PredictedDecrease",
    "QuadraticObjective",
    "ScalingObjective",
    "Sharpness",
]
