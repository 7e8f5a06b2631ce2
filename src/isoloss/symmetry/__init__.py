"""Symmetries: groups together with the parameter blocks that they move."""

from isoloss.symmetry._atomic import write_atomically
from isoloss.symmetry._block import Block
from isoloss.symmetry._slot import Frame, Operand, Shift, Slot
from isoloss.symmetry._symmetries import Symmetries, named_tensors
from isoloss.symmetry._symmetry import Symmetry

__all__ = [
    "Block",
    "Frame",
    "Operand",
    "Shift",
    "Slot",
    "Symmetries",
    "Symmetry",
    "named_tensors",
    "write_atomically",
]
