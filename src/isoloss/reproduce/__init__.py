"""Every figure and table of the papers, as one command each: settings, numbers, figure and verdict."""

from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._experiment import Experiment, Settings, experiment
from isoloss.reproduce._finding import Finding, overall
from isoloss.reproduce._reproduce import Outcome, check, reproduce
from isoloss.reproduce._runs import Each, Runs
from isoloss.reproduce.experiments import EXPERIMENTS

__all__ = [
    "EXPERIMENTS",
    "Comparison",
    "Each",
    "Experiment",
    "Finding",
    "Outcome",
    "Runs",
    "Settings",
    "check",
    "compare",
    "experiment",
    "overall",
    "reproduce",
]
