"""Curves on the level set of the loss, their derivatives and their curvature."""

from isoloss.teleport.curves._curvature import curvature, curvature_rate
from isoloss.teleport.curves._curve import Curve, TaylorCurve, taylor
from isoloss.teleport.curves._elementwise import elementwise_derivatives
from isoloss.teleport.curves._forward import ForwardCurve
from isoloss.teleport.curves._inverse import InverseCurve
from isoloss.teleport.curves._layers import LayerPair
from isoloss.teleport.curves._orbit import OrbitCurve
from isoloss.teleport.curves._pairs import layer_pairs
from isoloss.teleport.curves._random import random_curves

__all__ = [
    "Curve",
    "ForwardCurve",
    "InverseCurve",
    "LayerPair",
    "OrbitCurve",
    "TaylorCurve",
    "curvature",
    "curvature_rate",
    "elementwise_derivatives",
    "layer_pairs",
    "random_curves",
    "taylor",
]
