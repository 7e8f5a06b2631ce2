"""The landscape of the loss: how far orbits reach, how flat minima are, and what of that symmetries decide.

Sharpness and curvature are the functions that teleportation moves by.
"""

from isoloss.landscape._adaptive import adaptive_sharpness, adaptive_trace, point
from isoloss.landscape._congruent import Inertia, inertia, newton_decrement
from isoloss.landscape._flat_directions import (
    FlatDirections,
    flat_directions,
    principal_angles,
    tangent_space,
)
from isoloss.landscape._generic import generic_orbit_dimension, published_orbit_dimension
from isoloss.landscape._hessian import Hessian
from isoloss.landscape._least_trace import LeastTrace, least_trace
from isoloss.landscape._orbit_dimension import OrbitDimension, orbit_dimension
from isoloss.landscape._spectrum import Density, Spectrum, density, spectrum, zero_tolerance
from isoloss.teleport import Curvature, Sharpness
from isoloss.teleport.curves import curvature, curvature_rate

__all__ = [
    "Curvature",
    "Density",
    "FlatDirections",
    "Hessian",
    "Inertia",
    "LeastTrace",
    "OrbitDimension",
    "Sharpness",
    "Spectrum",
    "adaptive_sharpness",
    "adaptive_trace",
    "curvature",
    "curvature_rate",
    "density",
    "flat_directions",
    "generic_orbit_dimension",
    "inertia",
    "least_trace",
    "newton_decrement",
    "orbit_dimension",
    "point",
    "principal_angles",
    "published_orbit_dimension",
    "spectrum",
    "tangent_space",
    "zero_tolerance",
]
