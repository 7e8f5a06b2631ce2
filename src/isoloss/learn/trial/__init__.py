"""Train a meta-optimizer, put it to the test on unseen tasks beside its ablations and the baselines, and show it."""

from isoloss.learn.trial._figure import plot
from isoloss.learn.trial._report import report
from isoloss.learn.trial._settings import Settings
from isoloss.learn.trial._trial import OPTIMIZER, Watch, prepare, trial
from isoloss.learn.trial._verdict import Verdict, judge

__all__ = ["OPTIMIZER", "Settings", "Verdict", "Watch", "judge", "plot", "prepare", "report", "trial"]
