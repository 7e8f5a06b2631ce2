"""The theorems on teleportation as functions of any loss, one file per statement; each says where it was mended."""

from isoloss.teleport.theory._basin import BasinRun, basin_run, sgd_bound, sgd_rate
from isoloss.teleport.theory._components import NewtonComponents, newton_components, newton_growth, power_gap
from isoloss.teleport.theory._derivatives import Loss
from isoloss.teleport.theory._fields import Field, bracket, derivation, reverse_gradient, turned_gradient
from isoloss.teleport.theory._flat import flatten
from isoloss.teleport.theory._isometries import is_isometry, isometry
from isoloss.teleport.theory._lead import gradient_norms, kept_steps, required_lead
from isoloss.teleport.theory._newton import (
    NewtonStep,
    dampened_newton_step,
    gradient_eigenvalue,
    misalignment,
    newton_bound,
    newton_direction,
)
from isoloss.teleport.theory._one_teleport import OneTeleport, misalignment_along_flow, one_teleport_is_enough
from isoloss.teleport.theory._quadratic_forms import connecting, flow, steepest
from isoloss.teleport.theory._transport import Move, accelerates, decay_rate, transported_gradient

__all__ = [
    "BasinRun",
    "Field",
    "Loss",
    "Move",
    "NewtonComponents",
    "NewtonStep",
    "OneTeleport",
    "accelerates",
    "basin_run",
    "bracket",
    "connecting",
    "dampened_newton_step",
    "decay_rate",
    "derivation",
    "flatten",
    "flow",
    "gradient_eigenvalue",
    "gradient_norms",
    "is_isometry",
    "isometry",
    "kept_steps",
    "misalignment",
    "misalignment_along_flow",
    "newton_bound",
    "newton_components",
    "newton_direction",
    "newton_growth",
    "one_teleport_is_enough",
    "power_gap",
    "required_lead",
    "reverse_gradient",
    "sgd_bound",
    "sgd_rate",
    "steepest",
    "transported_gradient",
    "turned_gradient",
]
