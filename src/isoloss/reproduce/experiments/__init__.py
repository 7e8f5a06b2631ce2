"""The experiments, one file each; `EXPERIMENTS` lists them in the order of the papers."""

from isoloss.reproduce._experiment import Experiment
from isoloss.reproduce.experiments._attacks import attacks
from isoloss.reproduce.experiments._components import components
from isoloss.reproduce.experiments._conserved import conserved
from isoloss.reproduce.experiments._convergence import convergence
from isoloss.reproduce.experiments._curves import curves
from isoloss.reproduce.experiments._discovered_curves import discovered_curves
from isoloss.reproduce.experiments._discovered_dependent import discovered_sigmoid, discovered_tanh
from isoloss.reproduce.experiments._discovered_known import discovered_known
from isoloss.reproduce.experiments._discovered_scalar import discovered_scalar
from isoloss.reproduce.experiments._discovered_transformer import discovered_transformer
from isoloss.reproduce.experiments._distance import distance
from isoloss.reproduce.experiments._drift import drift
from isoloss.reproduce.experiments._eigenvalues import eigenvalues
from isoloss.reproduce.experiments._ensembles import ensembles
from isoloss.reproduce.experiments._generalization import generalization
from isoloss.reproduce.experiments._imbalance import imbalance
from isoloss.reproduce.experiments._interpolation import interpolation
from isoloss.reproduce.experiments._l2o_booth import l2o_booth
from isoloss.reproduce.experiments._l2o_rosenbrock import l2o_rosenbrock
from isoloss.reproduce.experiments._learned import learned
from isoloss.reproduce.experiments._learned_momentum import learned_momentum
from isoloss.reproduce.experiments._minima import minima
from isoloss.reproduce.experiments._mnist import mnist
from isoloss.reproduce.experiments._on_the_fly import on_the_fly
from isoloss.reproduce.experiments._optimizers import optimizers
from isoloss.reproduce.experiments._orbits import orbits
from isoloss.reproduce.experiments._plane import plane
from isoloss.reproduce.experiments._radial import radial
from isoloss.reproduce.experiments._regression import regression
from isoloss.reproduce.experiments._runtime import runtime
from isoloss.reproduce.experiments._schedules import schedules
from isoloss.reproduce.experiments._strategies import strategies
from isoloss.reproduce.experiments._test_functions import booth, rosenbrock

EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        plane,
        orbits,
        conserved,
        imbalance,
        radial,
        eigenvalues,
        drift,
        ensembles,
        attacks,
        components,
        interpolation,
        curves,
        rosenbrock,
        booth,
        regression,
        mnist,
        convergence,
        schedules,
        runtime,
        minima,
        distance,
        generalization,
        strategies,
        optimizers,
        learned,
        on_the_fly,
        l2o_booth,
        l2o_rosenbrock,
        learned_momentum,
        discovered_scalar,
        discovered_known,
        discovered_sigmoid,
        discovered_tanh,
        discovered_curves,
        discovered_transformer,
    )
}

__all__ = ["EXPERIMENTS"]
