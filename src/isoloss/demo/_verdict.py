"""Who wins, by how much, and whether the seeds alone could have done it."""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from isoloss.demo._contenders import CONTENDERS

MEASURES = ("training_loss", "validation_loss")


@dataclass(frozen=True)
class Spread:
    """Mean and range over the seeds; inf where a run diverged."""

    mean: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float | None]) -> "Spread":
        """The spread of numbers of which None stands for one that was not finite."""
        finite = [math.inf if v is None else v for v in values]
        return cls(fmean(finite), min(finite), max(finite))

    def apart(self, other: "Spread") -> bool:
        """Do the two ranges have no point in common?"""
        return self.highest < other.lowest or other.highest < self.lowest


@dataclass(frozen=True)
class Verdict:
    """One contender against another, by one measure.

    Attributes:
        contender: Who is judged.
        against: Whom it is judged against.
        measure: Final training or validation loss.
        change: Relative difference of the means; negative if the contender is better.
        outside: Do the ranges over the seeds not overlap?
    """

    contender: str
    against: str
    measure: str
    change: float
    outside: bool

    def __str__(self) -> str:
        size = f"{-self.change:.0%} lower than" if self.change < 0 else f"{1 + self.change:.3g} times that of"
        measure, where = self.measure.replace("_", " "), "outside" if self.outside else "inside"
        return f"{self.contender}: {measure} {size} {self.against}, {where} the seed spread"


def final(runs: list[dict[str, Any]], measure: str) -> Spread:
    """The spread of a measure at the end of the runs."""
    return Spread.of([run[measure][-1] for run in runs])


def judge(runs: dict[str, list[dict[str, Any]]]) -> list[Verdict]:
    """Every teleporting contender against the one that differs in the teleport only."""
    pairs = [(c.name, c.against) for c in CONTENDERS if c.against in runs and c.name in runs]
    return [
        Verdict(name, against, measure, ours.mean / theirs.mean - 1, ours.apart(theirs))
        for name, against in pairs
        for measure in MEASURES
        for ours, theirs in [(final(runs[name], measure), final(runs[against], measure))]
    ]


def leaders(runs: dict[str, list[dict[str, Any]]], measure: str) -> list[str]:
    """The contender with the lowest mean, then those whose range overlaps its range."""
    spreads = {name: final(of, measure) for name, of in runs.items()}
    order = sorted(spreads, key=lambda name: spreads[name].mean)
    return [name for name in order if not spreads[name].apart(spreads[order[0]])]
