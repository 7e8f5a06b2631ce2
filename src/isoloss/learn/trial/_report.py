"""The results as text."""

from collections.abc import Mapping, Sequence
from math import isinf
from statistics import median
from typing import Any

from isoloss.learn.trial._verdict import at_step, finals, judge, labels


def report(results: Mapping[str, Any]) -> str:
    """Median losses on unseen tasks at a few steps, the verdicts, what the teleports did, and if training failed.

    Args:
        results: What `trial` returned, or results.json.
    """
    test, runs = results["test"], results["contenders"]
    steps = shown_steps(results)
    header = ["contender", "rate", *(f"step {step}" for step in steps), "diverged"]
    rows = [
        [
            labels(results)[name],
            "" if run["rate"] is None else f"{run['rate']:.2g}",
            *(f"{median(at_step(run, step)):.3g}" for step in steps),
            f"{sum(map(isinf, finals(run)))}",
        ]
        for name, run in runs.items()
    ]
    title = f"Median loss on {test['tasks']} unseen tasks ({results['task']}), baselines at their best rate:"
    lines = [title, "", *_aligned([header, *rows]), ""]
    lines += [f"- {verdict}" for verdict in judge(results)]
    return "\n".join(lines + _teleports(runs["learned"]) + _untrained(results))


def shown_steps(results: Mapping[str, Any]) -> list[int]:
    """The start, a tenth of the horizon, the horizon, ten times it, and the last step, where there are such."""
    horizon, last = results["recipe"]["horizon"], results["test"]["steps"]
    return sorted({0, last, *(step for step in (horizon // 10, horizon, 10 * horizon) if 0 < step < last)})


def _teleports(run: Mapping[str, Any]) -> list[str]:
    """What the learned teleports did, those that were refused apart."""
    jumps = [
        jump
        for rows in zip(run["gains"], run["changes"], run["sizes"], strict=True)
        for jump in zip(*rows, strict=True)
    ]
    if not jumps:
        return []
    known = [(gain, abs(change)) for gain, change, size in jumps if size and None not in (gain, change)]
    refused = sum(size == 0 for _, _, size in jumps)
    if not known:
        return [f"- all {len(jumps)} teleports were refused"]
    gains = sorted(gain for gain, _ in known)
    quarter = len(gains) // 4
    return [
        f"- learned teleports multiply the gradient norm by {median(gains):.3g} "
        f"(quartiles {gains[quarter]:.3g} to {gains[-1 - quarter]:.3g}) and change the loss by at most "
        f"{max(change for _, change in known):.0e} of it; {refused} of {len(jumps)} were refused"
    ]


def _untrained(results: Mapping[str, Any]) -> list[str]:
    """A warning, if training brought nothing."""
    if not results["untrained"]:
        return []
    return [
        "- training brought nothing: on the validation tasks no run came below the untrained optimizer "
        f"(meta-loss {results['validation']:.3g}), which is the one that was kept and tested"
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
