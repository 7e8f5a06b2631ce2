"""Symmetries that nobody has derived, discovered from the loss alone.

References:
    Dissertation, Chapter 6 and Appendix D.
"""

from isoloss.discovery._space import Space

__all__ = ["Space"]
