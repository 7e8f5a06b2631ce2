"""Data-dependent actions: GL(h) moves two adjacent layers so that one batch is computed as before.

Example:
    >>> import torch, isoloss
    >>> from isoloss import dependent
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    >>> x, y = torch.randn(8, 4), torch.randn(8, 2)
    >>> loss = lambda: torch.nn.functional.mse_loss(model(x), y)
    >>> report = dependent.teleport_(isoloss.find(model, x), loss, radius=0.1)
    >>> report.gradient_norm_after > report.gradient_norm_before
    True
    >>> abs(report.loss_change) < 1e-4
    True
"""

from isoloss.dependent._activation import ACTIVATIONS, Activation, Extended, activation_of
from isoloss.dependent._bounds import change_bound, equivariance_bound, lipschitz_bound
from isoloss.dependent._chain import Chain
from isoloss.dependent._evaluated import Measure
from isoloss.dependent._factor import Factor
from isoloss.dependent._frame import frame
from isoloss.dependent._layer import Layer
from isoloss.dependent._move import Moved, act, act_
from isoloss.dependent._pair import Pair, pair_of, pairs
from isoloss.dependent._passes import undisturbed
from isoloss.dependent._rotation import rotation
from isoloss.dependent._search import Search
from isoloss.dependent._teleport import Destination, search, teleport_
from isoloss.dependent.actions import (
    ACTIONS,
    DependentAction,
    Difference,
    Frame,
    One,
    Rotation,
    Two,
)

__all__ = [
    "ACTIONS",
    "ACTIVATIONS",
    "Activation",
    "Chain",
    "DependentAction",
    "Destination",
    "Difference",
    "Extended",
    "Factor",
    "Frame",
    "Layer",
    "Measure",
    "Moved",
    "One",
    "Pair",
    "Rotation",
    "Search",
    "Two",
    "act",
    "act_",
    "activation_of",
    "change_bound",
    "equivariance_bound",
    "frame",
    "lipschitz_bound",
    "pair_of",
    "pairs",
    "rotation",
    "search",
    "teleport_",
    "undisturbed",
]
