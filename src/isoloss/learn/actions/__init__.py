"""What may teleport an optimizee: exact symmetries, data-dependent actions, rotations of test functions."""

from isoloss.learn.actions._action import Action

__all__ = ["Action"]
