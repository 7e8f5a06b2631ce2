"""Rules that propose where on the orbit to go."""

from isoloss.learn.directions._direction import Direction

__all__ = ["Direction"]
