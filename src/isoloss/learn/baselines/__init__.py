"""Optimizers that learn nothing, each at its own best learning rate; `BASELINES` lists them by name."""

from isoloss.learn.baselines._adam import Adam
from isoloss.learn.baselines._ascent import Ascent
from isoloss.learn.baselines._baseline import Baseline, State
from isoloss.learn.baselines._gradient_descent import GradientDescent
from isoloss.learn.baselines._gradient_descent_teleport import GradientDescentTeleport
from isoloss.learn.baselines._landing import Landing
from isoloss.learn.baselines._momentum import Momentum
from isoloss.learn.baselines._sweep import Sweep, scored, sweep, tune

BASELINES: dict[str, type[Baseline]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "adam": Adam,
    "gd-teleport": GradientDescentTeleport,
}

TELEPORTS: tuple[GradientDescentTeleport, ...] = tuple(
    GradientDescentTeleport(most=most, ascent=Ascent(radius=radius, growth=growth))
    for most, radius, growth in ((1, 0.1, 10.0), (1, 0.5, 10.0), (10, 0.5, 1.1), (10, 1.5, 10.0))
)
"""Settings of ordinary teleportation to tune over, from cautious to bold: no single one suits all tasks."""

__all__ = [
    "BASELINES",
    "TELEPORTS",
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
    "tune",
]
