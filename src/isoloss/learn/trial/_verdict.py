"""What the test says, from the numbers alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, inf, isinf
from statistics import median
from typing import Any

LEVEL = 0.05
"""Largest probability with which a fair coin would have decided as many tasks."""

Losses = Sequence[Sequence[float | None]]


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
    last, horizon = run["steps"][-1], results["recipe"]["horizon"]
    begin, trained, end = (median(at_step(run, step)) for step in (0, min(horizon, last), last))
    diverged = sum(map(isinf, finals(run)))
    said = f"median loss {begin:.3g} at first, {trained:.3g} at step {min(horizon, last)}"
    said += f", {end:.3g} at step {last}" if last > horizon else ""
    return Verdict(
        f"{labels(results)['learned']} converges on unseen tasks over {last / horizon:g} times the trained horizon",
        not diverged and end <= trained < begin,
        f"{said}; {diverged} of {len(run['losses'])} diverged",
    )


def _lower(ours: Sequence[float], theirs: Sequence[float], name: str) -> Verdict:
    """A sign test over the tasks; ties say nothing."""
    wins, losses = (
        sum(a < b for a, b in zip(*pair, strict=True)) for pair in ((ours, theirs), (theirs, ours))
    )
    decided = wins + losses
    holds = None
    if decided and _luck(max(wins, losses), decided) <= LEVEL:
        holds = wins > losses
    return Verdict(
        f"ends lower than {name}",
        holds,
        f"median {median(ours):.3g} against {median(theirs):.3g}; lower on {wins} of {len(ours)} tasks",
    )


def _luck(wins: int, of: int) -> float:
    """The probability that a fair coin shows as many heads, or more."""
    return sum(comb(of, k) for k in range(wins, of + 1)) / 2**of
