"""Data-dependent actions: GL(h) moves two adjacent layers so that one batch is computed as before."""

from isoloss.dependent._activation import ACTIVATIONS, Activation, Extended, activation_of
from isoloss.dependent._bounds import change_bound, equivariance_bound, lipschitz_bound
from isoloss.dependent._chain import Chain
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
