"""The demo: one real network on real data, trained with and without teleportation."""

from isoloss.demo._figure import plot
from isoloss.demo._report import report
from isoloss.demo._run import run
from isoloss.demo._settings import Settings
from isoloss.demo._setup import Setup, prepare
from isoloss.problems import Data, load

__all__ = ["Data", "Settings", "Setup", "load", "plot", "prepare", "report", "run"]
