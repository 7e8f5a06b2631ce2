"""What may teleport an optimizee: exact symmetries, data-dependent actions, rotations of test functions."""

from isoloss.learn.actions._action import Action
from isoloss.learn.actions._dependent import Dependent
from isoloss.learn.actions._exact import Exact
from isoloss.learn.actions._radius import bounded, element
from isoloss.learn.actions._rotation import Rotation

__all__ = ["Action", "Dependent", "Exact", "Rotation", "bounded", "element"]
