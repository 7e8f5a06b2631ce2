"""Figures 5 and 6 of the 2025 paper: learned optimizers of Rosenbrock functions, with and without teleports."""

from typing import Any

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_l2o import L2O, QUICK, judge, plot, study

DISTRIBUTIONS = {"rosenbrock-fixed": "one valley", "rosenbrock": "valleys"}


@experiment(
    "l2o-rosenbrock",
    shows="2025 paper: Figures 5, 6",
    paper="2025 paper, Section 5.1",
    claim="Vanilla L2O consistently outperforms the variant with learned teleports, on one function and on many "
    "generalized Rosenbrock functions.",
    settings=L2O,
    quick=QUICK,
    judge=judge,
    plot=plot,
)
def l2o_rosenbrock(settings: L2O, each: Each) -> dict[str, Any]:
    """Meta-optimizers and baselines on both distributions."""
    return study(settings, each, DISTRIBUTIONS)
