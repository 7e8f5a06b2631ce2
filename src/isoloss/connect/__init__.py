"""Connectivity of minima: curves on the level set, barriers, orbits and connected components.

Example:
    >>> import torch, isoloss
    >>> from isoloss import connect
    >>> draw = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    >>> x = torch.randn(8, 3, dtype=torch.float64)
    >>> symmetries = isoloss.find(model, x).only(isoloss.groups.PositiveScaling)
    >>> a = {n: p.detach() for n, p in model.named_parameters()}
    >>> b = a | symmetries.act(symmetries.sample(scale=1.0), a)
    >>> loss = lambda w: torch.func.functional_call(model, w, (x,)).square().mean()
    >>> gamma = connect.curve(a, b, symmetries)
    >>> connect.barrier(a, b, loss, gamma).variation < 1e-12
    True
    >>> connect.barrier(a, b, loss).variation > 1e-3  # the straight line leaves the level set
    True
"""

from isoloss.connect import failures, minima
from isoloss.connect._barrier import Barrier, LossFunction, barrier, profile
from isoloss.connect._curve import curve, orbit_curve
from isoloss.connect._dependent_curve import DependentCurve
from isoloss.connect._deviation import deviation_bound, loss_bound
from isoloss.connect._factors import Component, Factors, factors
from isoloss.connect._find import GroupElement, find_group_element
from isoloss.connect._line import Line
from isoloss.connect._orbit_curve import OrbitCurve, Step
from isoloss.connect._path import Path, SmoothPath
from isoloss.connect._plot import plot_path, plot_profiles
from isoloss.connect.minima import (
    Components,
    LevelPath,
    LinearRegression,
    ResidualRegression,
    components,
    level_path,
    project,
)

__all__ = [
    "Barrier",
    "Component",
    "Components",
    "DependentCurve",
    "Factors",
    "GroupElement",
    "LevelPath",
    "Line",
    "LinearRegression",
    "LossFunction",
    "OrbitCurve",
    "Path",
    "ResidualRegression",
    "SmoothPath",
    "Step",
    "barrier",
    "components",
    "curve",
    "deviation_bound",
    "factors",
    "failures",
    "find_group_element",
    "level_path",
    "loss_bound",
    "minima",
    "orbit_curve",
    "plot_path",
    "plot_profiles",
    "profile",
    "project",
]
