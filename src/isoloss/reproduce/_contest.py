"""Contenders at the papers' shared learning rate, and each at its own best: the papers show the first only."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isoloss._sweep import sweep
from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._figure import canvas, curve, frame_losses, outside, panel_sweep
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run


def contest(
    each: Each,
    run: Callable[..., Run],
    contenders: Sequence[str],
    *,
    seeds: int,
    rate: float,
    measure: str = "final",
    **case: Any,
) -> dict[str, Any]:
    """Run every contender at the shared rate and search its best one; see `sweep`.

    Args:
        each: Runs the cases.
        run: Called with contender, rate, seed and `case`; returns at least `measure`, None if it diverged.
        contenders: Who.
        seeds: Repetitions, the same for all.
        rate: The learning rate at which the paper compares.
        measure: What chooses the best rate: of those at which the fewest seeds diverge, that of the lowest mean of its
            logarithm over the others.
        case: Given to every run.

    Returns:
        By contender: `sweep` (rates with their finals), `shared` and `best` (a rate and its runs, one per seed).
    """

    def evaluate(pairs: Sequence[tuple[str, float]]) -> list[list[Run]]:
        cases = [{"contender": name, "rate": r, "seed": s} | case for name, r in pairs for s in range(seeds)]
        runs = each(run, cases)
        return [runs[i * seeds : (i + 1) * seeds] for i in range(len(pairs))]

    def score(runs: list[Run]) -> tuple[int, float]:
        finals = [run[measure] for run in runs]
        known = [math.log(max(v, 1e-300)) for v in finals if v is not None]
        return len(finals) - len(known), math.fsum(known) / len(known) if known else math.inf

    found, best = sweep(contenders, rate, evaluate, score)
    return {
        name: {
            "sweep": [{"rate": r, "finals": [run[measure] for run in of[r]]} for r in sorted(of)],
            "shared": {"rate": rate, "runs": of[rate]},
            "best": {"rate": best[name], "runs": of[best[name]]},
        }
        for name, of in found.items()
    }


def contests(
    each: Each,
    run: Callable[..., Run],
    contenders: Mapping[str, Sequence[str]],
    rates: Mapping[str, float],
    seeds: int,
) -> dict[str, dict[str, Any]]:
    """A contest per optimizer, whose name is given to every run as optimizer_name."""
    return {
        name: contest(each, run, contenders[name], seeds=seeds, rate=rate, optimizer_name=name)
        for name, rate in rates.items()
    }


def versus(
    contest: Mapping[str, Any], ours: str, theirs: str, at: str = "shared", measure: str = "final"
) -> Comparison:
    """Compare two contenders seed by seed; at is "shared" or "best"."""
    a, b = ([run[measure] for run in contest[name][at]["runs"]] for name in (ours, theirs))
    return compare(a, b)


def both_rates(
    contest: Mapping[str, Any],
    ours: str,
    theirs: str,
    statement: str,
    *,
    measure: str = "final",
    what: str = "training loss",
) -> list[Finding]:
    """The paper's claim at the shared rate, and as a control the same at each contender's own best rate."""
    shared, best = (versus(contest, ours, theirs, at, measure) for at in ("shared", "best"))
    rates = ", ".join(f"{name} {contest[name]['best']['rate']:g}" for name in (ours, theirs))
    return [
        Finding(
            statement,
            shared.lower,
            f"{what} at the shared rate {contest[ours]['shared']['rate']:g}: {shared}",
        ),
        Finding(
            f"{statement}, each at its own best learning rate",
            best.lower,
            f"{what} at {rates}: {best}",
            "control",
        ),
    ]


def against_control(
    contest: Mapping[str, Any],
    ours: str,
    control: str,
    *,
    measure: str = "final",
    what: str = "training loss",
) -> Finding:
    """Does it do better than the control, at the shared rate?"""
    c = versus(contest, ours, control, "shared", measure)
    return Finding(f"{ours} ends lower than {control}", c.lower, f"{what} at the shared rate: {c}", "control")


def plot_contests(
    contests: Mapping[str, Mapping[str, Any]],
    *,
    measure: str,
    label: str,
    along: str = "epochs",
    also: str | None = None,
):
    """A row per contest: curves at the shared rate, curves at the best rates, the sweep.

    Args:
        contests: By title.
        measure: Which list of a run is drawn.
        label: What it is.
        along: Which list it is drawn against.
        also: Another measure, drawn at the shared rate in a panel of its own.
    """
    figure, axes = canvas(len(contests), 3 if also is None else 4)
    for row, (title, entries) in zip(axes, contests.items(), strict=True):
        rate = next(iter(entries.values()))["shared"]["rate"]
        panels = [(row[0], "shared", f"rate {rate:g}, as in the paper", measure)]
        panels += [(row[1], "best", "each at its best rate", measure)]
        panels += [(row[3], "shared", f"rate {rate:g}, as in the paper", also)] if also else []
        for axis, at, said, drawn in panels:
            for i, (name, entry) in enumerate(entries.items()):
                runs = entry[at]["runs"]
                x = max((run[along] for run in runs), key=len)
                curve(axis, x, [run[drawn] for run in runs], name, i)
            frame_losses(axis, [run[drawn] for entry in entries.values() for run in entry[at]["runs"]])
            shown = label if drawn == measure else f"{drawn} loss"
            axis.set(xlabel=along.rstrip("s"), ylabel=shown, title=f"{title}: {said}")
        told = {n: [(p["rate"], _mean(p["finals"])) for p in e["sweep"]] for n, e in entries.items()}
        panel_sweep(row[2], told, rate, {name: entry["best"]["rate"] for name, entry in entries.items()})
        row[2].set(ylabel="final training loss", title=f"{title}: sweep of the learning rate")
        labels = {name: f"{name} (best {entry['best']['rate']:g})" for name, entry in entries.items()}
        outside(row[-1], row[0], labels)
    return figure, axes


def _mean(values: Sequence[float | None]) -> float:
    if any(v is None for v in values):
        return math.nan
    return math.exp(math.fsum(math.log(max(v or 0.0, 1e-300)) for v in values) / len(values))
