"""What the test says, from the numbers alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf, isinf
from statistics import median
from typing import Any

LEVEL = 0.05
"""Largest probability with which a fair coin would have decided as many tasks."""

CONVERGED = 1e-12
"""A loss at this part of what it was at first counts as converged, whether it falls on or not."""

CLIMB = 10.0
"""A loss that ends so many times above its lowest has climbed again, unless it counts as converged."""


@dataclass(frozen=True)
class Verdict:
    """One statement that the numbers confirm, refute or leave open.

    Attributes:
        statement: What is asked.
        holds: Does it? None if the numbers cannot tell.
        evidence: The numbers.
    """

    statement: str
    holds: bool | None
    evidence: str

    def __str__(self) -> str:
        word = {True: "holds", False: "does not hold", None: "open"}[self.holds]
        return f"{self.statement}: {word} ({self.evidence})"


def judge(results: Mapping[str, Any]) -> list[Verdict]:
    """Does it converge on unseen tasks, and does it end lower than everybody else?

    Args:
        results: What `trial` returned, or results.json.
    """
    runs = results["contenders"]
    ours = runs["learned"]
    found = [_converges(ours, results)]
    for name, run in runs.items():
        if name != "learned":
            found.append(_lower(finals(ours), finals(run), labels(results)[name]))
    return found


def labels(results: Mapping[str, Any]) -> dict[str, str]:
    """What contenders are called in tables and figures."""
    variant = ",".join(results["design"]["variant"])
    return {name: name for name in results["contenders"]} | {
        "learned": variant,
        "identity": f"{variant} with g = 1",
        "mean-rate": f"{variant} with f = mean rate",
        "gd": "GD",
        "momentum": "momentum",
        "adam": "Adam",
        "gd-teleport": "GD + teleport",
    }


def finals(run: Mapping[str, Any]) -> list[float]:
    """Last losses, inf where a run diverged."""
    return at_step(run, run["steps"][-1])


def at_step(run: Mapping[str, Any], step: int) -> list[float]:
    """The losses at the last known step up to this one."""
    i = max(i for i, known in enumerate(run["steps"]) if known <= step)
    return [inf if losses[i] is None else losses[i] for losses in run["losses"]]


def _converges(run: Mapping[str, Any], results: Mapping[str, Any]) -> Verdict:
    """Do losses go on falling where nobody trained it, on more tasks than luck explains?"""
    last, horizon = run["steps"][-1], results["recipe"]["horizon"]
    middle = min(horizon, last)
    begin, trained, end = (at_step(run, step) for step in (0, middle, last))
    solved = [e <= CONVERGED * b for b, e in zip(begin, end, strict=True)]
    climbed = [
        not s and e > CLIMB * max(low, CONVERGED * b)
        for s, b, low, e in zip(solved, begin, _lowest(run), end, strict=True)
    ]
    diverged, of = sum(map(isinf, end)), len(end)
    fell = sum(
        e < b and (s or ((e < t or last == middle) and not c))
        for s, c, b, t, e in zip(solved, climbed, begin, trained, end, strict=True)
    )
    said = f"median loss {median(begin):.3g} at first, {median(trained):.3g} at step {middle}"
    said += f", {median(end):.3g} at step {last}" if last > middle else ""
    again = sum(c and not isinf(e) for c, e in zip(climbed, end, strict=True))
    said += f"; falling on {fell} of {of} tasks; {diverged} diverged"
    said += f"; {again} ended more than {CLIMB:g} times above their lowest" if again else ""
    return Verdict(
        f"{labels(results)['learned']} converges on unseen tasks over {last / horizon:.3g} times the trained horizon",
        False if diverged else _decided(fell, of - fell),
        said,
    )


def _lowest(run: Mapping[str, Any]) -> list[float]:
    """Of every task, at the steps that are known."""
    return [min(inf if loss is None else loss for loss in losses) for losses in run["losses"]]


def _lower(ours: Sequence[float], theirs: Sequence[float], name: str) -> Verdict:
    """A sign test over the tasks; ties say nothing."""
    wins, losses = (
        sum(a < b for a, b in zip(*pair, strict=True)) for pair in ((ours, theirs), (theirs, ours))
    )
    return Verdict(
        f"ends lower than {name}",
        _decided(wins, losses),
        f"median {median(ours):.3g} against {median(theirs):.3g}; lower on {wins} of {len(ours)} tasks",
    )


def _decided(wins: int, losses: int) -> bool | None:
    """The side that a fair coin would hardly have favoured so much; None if there is none."""
    of, most = wins + losses, max(wins, losses)
    luck = sum(comb(of, k) for k in range(most, of + 1)) / 2**of
    return wins > losses if luck <= LEVEL else None
