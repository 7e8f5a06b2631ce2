"""The results as text."""

from collections.abc import Sequence
from typing import Any

from isoloss.demo._verdict import MEASURES, Spread, final, judge, leaders

HEADER = (
    "contender",
    "rate",
    "training loss",
    "(range)",
    "validation loss",
    "(range)",
    "accuracy",
    "seconds",
)


def report(results: dict[str, Any]) -> str:
    """For each scene what every contender reached at its best learning rate, and what that says."""
    return "\n\n".join(_scene(name, scene) for name, scene in results["scenes"].items())


def _scene(name: str, scene: dict[str, Any]) -> str:
    contenders = scene["contenders"]
    runs = {c: entry["runs"] for c, entry in contenders.items()}
    rows = [
        (
            c,
            _rates(runs[c]),
            *_cells(final(runs[c], "training_loss")),
            *_cells(final(runs[c], "validation_loss")),
            f"{final(runs[c], 'validation_accuracy').mean:.1%}",
            f"{final(runs[c], 'seconds').mean:.2f}",
        )
        for c, entry in contenders.items()
    ]
    seeds = len(next(iter(runs.values())))
    title = (
        f"{name} ({seeds} seeds, each contender and seed at the learning rate with the lowest training loss)"
    )
    lines = [title, *_aligned([HEADER, *rows]), *(f"- {verdict}" for verdict in judge(runs))]
    for measure in MEASURES:
        first, *tied = leaders(runs, measure)
        within = f", within its seed spread: {', '.join(tied)}" if tied else ", nobody within its seed spread"
        lines.append(f"- lowest {measure.replace('_', ' ')}: {first}{within}")
    lines.append(f"- {_moves(scene, runs)}")
    return "\n".join(lines)


def _moves(scene: dict[str, Any], runs: dict[str, list[dict[str, Any]]]) -> str:
    """What moving on the level set did to the function and to the loss: nothing, up to rounding."""
    pairs = [
        (jump["before"]["training_loss"], jump["after"]["training_loss"])
        for of in runs.values()
        for run in of
        for jump in run["jumps"]
    ]
    changes = [abs(after / before - 1) for before, after in pairs if before and after]
    jumped = f"{len(pairs)} jumps changed the training loss by at most {max(changes, default=0):.0e} of it (float32)"
    rescaled = scene["largest_change_of_outputs"]
    return (
        f"rescaling changed the outputs by at most {rescaled:.0e} (float64), {jumped}" if rescaled else jumped
    )


def _rates(runs: list[dict[str, Any]]) -> str:
    rates = sorted({run["learning_rate"] for run in runs})
    return f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} .. {rates[-1]:g}"


def _cells(spread: Spread) -> tuple[str, str]:
    return f"{spread.mean:.4g}", f"({spread.lowest:.3g} .. {spread.highest:.3g})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
