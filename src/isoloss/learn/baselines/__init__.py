"""Optimizers that learn nothing, to be compared with at their own best learning rate; `BASELINES` lists them by name."""

from isoloss.learn.baselines._adam import Adam
from isoloss.learn.baselines._ascent import Ascent
from isoloss.learn.baselines._baseline import Baseline, State
from isoloss.learn.baselines._gradient_descent import GradientDescent
from isoloss.learn.baselines._gradient_descent_teleport import GradientDescentTeleport
from isoloss.learn.baselines._landing import Landing
from isoloss.learn.baselines._momentum import Momentum
from isoloss.learn.baselines._sweep import Sweep, scored, sweep

BASELINES: dict[str, type[Baseline]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "adam": Adam,
    "gd-teleport": GradientDescentTeleport,
}

__all__ = [
    "BASELINES",
    "Adam",
    "Ascent",
    "Baseline",
    "GradientDescent",
    "GradientDescentTeleport",
    "Landing",
    "Momentum",
    "State",
    "Sweep",
    "scored",
    "sweep",
]
