"""Logistic regression on images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from isoloss.learn.tasks._images import ImageTasks


@dataclass(frozen=True)
class LogisticRegression(ImageTasks):
    """Logistic regression with a bias: "weight" (classes, pixels) and "bias" (classes,).

    There are no hidden units, and what keeps the loss does not change its gradient: adding a vector to all rows of
    the weight. So there are no actions.
    """

    name: ClassVar[str] = "logistic"

    def network(self, pixels: int, classes: int) -> nn.Module:
        """One layer."""
        return nn.Linear(pixels, classes)
