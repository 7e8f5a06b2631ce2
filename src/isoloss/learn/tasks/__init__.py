"""Distributions of tasks to learn on."""

from isoloss.learn.tasks._tasks import Draw, Tasks

__all__ = ["Draw", "Tasks"]
