"""The landscape around a minimum."""

from isoloss.landscape._orbit_dimension import OrbitDimension, orbit_dimension

__all__ = ["OrbitDimension", "orbit_dimension"]
