"""Find, move along and use the symmetries of network parameters."""

__version__ = "0.1.0"
