"""Objectives, one per file; `OBJECTIVES` lists them by the name that a command line would use."""

from isoloss.teleport.objectives._balance import Balance
from isoloss.teleport.objectives._gradient_norm import GradientNorm
from isoloss.teleport.objectives._objective import Objective, QuadraticObjective

OBJECTIVES: dict[str, type[Objective]] = {
    "gradient-norm": GradientNorm,
    "balance": Balance,
}

__all__ = ["OBJECTIVES", "Balance", "GradientNorm", "Objective", "QuadraticObjective"]
