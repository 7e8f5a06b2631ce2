"""Contenders at the papers' shared learning rate, and each at its own best: the papers show the first only."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._figure import canvas, color, curve, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run

MOST_EXTENSIONS = 6
HALF_DECADES = range(-2, 4)


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
    """Run every contender at half decades around the shared rate, further while the best is at an edge.

    Args:
        each: Runs the cases.
        run: Called with contender, rate, seed and `case`; returns at least `measure`, None if it diverged.
        contenders: Who.
        seeds: Repetitions, the same for all.
        rate: The learning rate at which the paper compares.
        measure: What chooses the best rate: the lowest mean of its logarithm over the seeds.
        case: Given to every run.

    Returns:
        By contender: `sweep` (rates with their finals), `shared` and `best` (a rate and its runs, one per seed).
    """
    wanted = {name: {shifted(rate, k) for k in HALF_DECADES} for name in contenders}
    found: dict[str, dict[float, list[Run]]] = {name: {} for name in contenders}
    for _ in range(MOST_EXTENSIONS + 1):
        new = [(name, r) for name in contenders for r in sorted(wanted[name]) if r not in found[name]]
        cases = [{"contender": name, "rate": r, "seed": s} | case for name, r in new for s in range(seeds)]
        runs = each(run, cases)
        for i, (name, r) in enumerate(new):
            found[name][r] = runs[i * seeds : (i + 1) * seeds]
        if not new:
            break
        for name in contenders:
            best = _best(found[name], measure)
            wanted[name] |= {shifted(best, -1)} if best == min(found[name]) else set()
            wanted[name] |= {shifted(best, 1)} if best == max(found[name]) else set()
    return {name: _told(found[name], rate, measure) for name in contenders}


def shifted(rate: float, halves: int) -> float:
    """The rate so many half decades away, to two digits."""
    return float(f"{rate * 10 ** (halves / 2):.1e}") if halves else rate


def _told(found: Mapping[float, list[Run]], rate: float, measure: str) -> dict[str, Any]:
    best = _best(found, measure)
    return {
        "sweep": [{"rate": r, "finals": [run[measure] for run in found[r]]} for r in sorted(found)],
        "shared": {"rate": rate, "runs": found[rate]},
        "best": {"rate": best, "runs": found[best]},
    }


def _best(found: Mapping[float, list[Run]], measure: str) -> float:
    def score(rate: float) -> tuple[float, float]:
        finals = [run[measure] for run in found[rate]]
        logs = [math.inf if v is None else math.log(max(v, 1e-300)) for v in finals]
        return math.fsum(logs) / len(logs) if math.inf not in logs else math.inf, rate

    return min(found, key=score)


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
        panels = [(row[0], "shared", "shared rate", measure), (row[1], "best", "own best rate", measure)]
        panels += [(row[3], "shared", "shared rate", also)] if also else []
        for axis, at, said, drawn in panels:
            for i, (name, entry) in enumerate(entries.items()):
                runs = entry[at]["runs"]
                x = max((run[along] for run in runs), key=len)
                curve(axis, x, [run[drawn] for run in runs], f"{name} ({entry[at]['rate']:g})", i)
            shown = label if drawn == measure else f"{drawn} loss"
            values = [[v for v in run[drawn] if v] for entry in entries.values() for run in entry[at]["runs"]]
            values = [of for of in values if of] or [[1.0]]
            axis.set_yscale("log")
            # Up to a little above where all began: what diverged may leave the picture.
            axis.set_ylim(min(map(min, values)) / 1.3, 2 * max(of[0] for of in values))
            axis.set(xlabel=along.rstrip("s"), ylabel=shown, title=f"{title}: {said}")
            legend(axis)
        for i, (name, entry) in enumerate(entries.items()):
            rates, finals = [p["rate"] for p in entry["sweep"]], [_mean(p["finals"]) for p in entry["sweep"]]
            row[2].plot(rates, finals, "o-", markersize=3, linewidth=1.2, color=color(i), label=name)
            row[2].axvline(entry["shared"]["rate"], color="#999999", linewidth=0.7, linestyle=":")
        row[2].set(
            xscale="log",
            yscale="log",
            xlabel="learning rate",
            ylabel="final training loss",
            title=f"{title}: sweep",
        )
        ends = [_mean(p["finals"]) for entry in entries.values() for p in entry["sweep"]]
        least = min((e for e in ends if e == e), default=1.0)
        row[2].set_ylim(
            least / 2, max(min(max((e for e in ends if e == e), default=1.0), 1e4 * least) * 2, least * 4)
        )
    return figure, axes


def _mean(values: Sequence[float | None]) -> float:
    if any(v is None for v in values):
        return math.nan
    return math.exp(math.fsum(math.log(max(v or 0.0, 1e-300)) for v in values) / len(values))
