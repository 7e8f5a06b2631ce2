"""Gradient flow, what it conserves, and setting that to a value of one's choice."""

from isoloss.flow._balance import Balanced, balance
from isoloss.flow._convergence import RadialFactorization, convergence_bound, convergence_rate
from isoloss.flow._drift import Drift, drift_bound
from isoloss.flow._elementwise import ANTIDERIVATIVES, antiderivative, elementwise_quantity, radial_quantity
from isoloss.flow._gradient_descent import gradient_descent
from isoloss.flow._gradient_flow import gradient_flow
from isoloss.flow._momentum import angular_momentum, residual
from isoloss.flow._monitor import Monitor
from isoloss.flow._quantities import ConservedQuantities, conserved_quantities
from isoloss.flow._quantity import Quantity
from isoloss.flow._trajectory import Trajectory
from isoloss.flow._transformed import transformed

__all__ = [
    "ANTIDERIVATIVES",
    "Balanced",
    "ConservedQuantities",
    "Drift",
    "Monitor",
    "Quantity",
    "RadialFactorization",
    "Trajectory",
    "angular_momentum",
    "antiderivative",
    "balance",
    "conserved_quantities",
    "convergence_bound",
    "convergence_rate",
    "drift_bound",
    "elementwise_quantity",
    "gradient_descent",
    "gradient_flow",
    "radial_quantity",
    "residual",
    "transformed",
]
