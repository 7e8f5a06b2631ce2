"""Algorithm 2 of the 2025 paper: an element of the group that is learned during one descent."""

from isoloss.learn.on_the_fly._plane import angle_slope, published_angle_slope, reversal_rate
from isoloss.learn.on_the_fly._run import Trajectory, descend_on_the_fly, train_on_the_fly

__all__ = [
    "Trajectory",
    "angle_slope",
    "descend_on_the_fly",
    "published_angle_slope",
    "reversal_rate",
    "train_on_the_fly",
]
