"""Figure 7 of the 2025 paper: learning momentum beside the group element and the learning rate."""

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

VARIANTS = ("lr,tele", "lr,tele,momentum")


def judge(results: dict[str, Any]) -> list[Finding]:
    """Does learned momentum help?"""
    return judge_learned(results, "lr,tele,momentum", ("lr,tele",))


def plot(results: dict[str, Any]):
    """Curves, ablations, gains and training."""
    return plot_learned(results, "lr,tele,momentum")


@experiment(
    "learned-momentum",
    shows="2025 paper: Figure 7",
    paper="2025 paper, Section 5.2 and Algorithm 3",
    claim="Learning a momentum coefficient beside the learning rate and the group element improves the "
    "meta-optimizer, which is compared with gradient descent as well.",
    settings=Learned,
    quick={"seeds": 2, "tests": 4, "teleports": 1, "published": (3, 3, 4), "trajectories": 128, "batch": 8},
    judge=judge,
    plot=plot,
)
def learned_momentum(settings: Learned, each: Each) -> dict[str, Any]:
    """All contenders, every meta-training on its own."""
    return compete(settings, each, VARIANTS)
