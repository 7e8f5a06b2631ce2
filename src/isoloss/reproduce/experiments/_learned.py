"""Figure 5.12: learning where to go on the level set beside learning the update."""

from typing import Any

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_learned_regression import (
    Learned,
    compete,
    judge_learned,
    plot_learned,
)

VARIANTS = ("update", "update,tele", "lr,tele")


def judge(results: dict[str, Any]) -> list[Finding]:
    """Does learning both beat learning either?"""
    return judge_learned(results, "update,tele", ("update", "lr,tele"))


def plot(results: dict[str, Any]):
    """Curves, ablations, gains and training."""
    return plot_learned(results, "update,tele")


@experiment(
    "learned",
    shows="Figure 5.12 (Figure 2 of the 2024 paper)",
    paper="Dissertation, Section 5.5; Zhao et al. (2024), Section 5.3 and Appendix F",
    claim="Learning both the local update and the group element converges faster than learning only local updates, "
    "than learning only the group element with a learning rate, and than gradient descent.",
    settings=Learned,
    quick={"seeds": 2, "tests": 4, "teleports": 1, "published": (3, 3, 4), "trajectories": 128, "batch": 8},
    judge=judge,
    plot=plot,
)
def learned(settings: Learned, each: Each) -> dict[str, Any]:
    """All contenders, every meta-training on its own."""
    return compete(settings, each, VARIANTS)
