"""Figures 3 and 4 of the 2025 paper: learned optimizers of generalized Booth functions, with and without teleports."""

from typing import Any

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_l2o import L2O, QUICK, judge, plot, study

DISTRIBUTIONS = {"booth-fixed": "one ellipse", "booth": "ellipses"}


@experiment(
    "l2o-booth",
    shows="2025 paper: Figures 3, 4",
    paper="2025 paper, Section 5.1",
    claim="Vanilla L2O consistently outperforms the variant with learned teleports, on one function and on many "
    "generalized Booth functions.",
    settings=L2O,
    quick=QUICK,
    judge=judge,
    plot=plot,
)
def l2o_booth(settings: L2O, each: Each) -> dict[str, Any]:
    """Meta-optimizers and baselines on both distributions."""
    return study(settings, each, DISTRIBUTIONS)
