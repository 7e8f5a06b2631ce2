"""Data-dependent actions, one per file; `ACTIONS` lists them by the name that a command line would use."""

from isoloss.dependent.actions._action import DependentAction
from isoloss.dependent.actions._difference import Difference
from isoloss.dependent.actions._frame import Frame
from isoloss.dependent.actions._one import One
from isoloss.dependent.actions._rotation import Rotation
from isoloss.dependent.actions._two import Two

ACTIONS: dict[str, type[DependentAction]] = {
    "difference": Difference,
    "frame": Frame,
    "rotation": Rotation,
    "action-1": One,
    "action-2": Two,
}

__all__ = ["ACTIONS", "DependentAction", "Difference", "Frame", "One", "Rotation", "Two"]
