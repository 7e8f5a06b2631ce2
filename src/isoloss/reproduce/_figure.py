"""What the figures share: axes, colours, curves with the range of the seeds."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoloss._files import write_file
from isoloss.demo._figure import GRID, matplotlib

COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974")

BEYOND = 1e12


def canvas(rows: int = 1, columns: int = 1, *, width: float = 4.2, height: float = 3.4):
    """A figure and its axes, an array (rows, columns); no display is needed."""
    figure = matplotlib("reproduce").figure.Figure(
        figsize=(width * columns, height * rows), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(True, **GRID)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def color(index: int) -> str:
    """The colour of a contender, by its position."""
    return COLORS[index % len(COLORS)]


def curve(
    axis, x: Sequence[float], runs: Sequence[Sequence[float | None]], label: str, index: int, **style
) -> None:
    """The median over the runs as a line, their range as a band; runs that diverged end early."""
    y = _stack(runs)
    at = np.asarray(x, dtype=float)[: y.shape[1]]
    y = y[:, : len(at)]
    shown = {"color": color(index), "linewidth": 1.4, "label": label} | style
    if len(y) > 1:
        axis.fill_between(at, np.min(y, 0), np.max(y, 0), color=shown["color"], alpha=0.15, linewidth=0)
    axis.plot(at, np.median(y, 0), **shown)


def _stack(runs: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Values (run, point); nan where a run had diverged, also at numbers that no axis can show."""
    longest = max(len(run) for run in runs)
    rows = [
        [np.nan if v is None or abs(v) > BEYOND else v for v in run] + [np.nan] * (longest - len(run))
        for run in runs
    ]
    return np.array(rows, dtype=float)


def legend(axis, **options: Any) -> None:
    """A small legend."""
    axis.legend(fontsize=7, frameon=False, **options)


def save(figure, path: Path) -> None:
    """Write path.png and path.svg; half a file is never left, and equal figures give equal files."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "isoloss"}):
        for kind, options in (("png", {"dpi": 130}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **options)
            write_file(path.with_suffix(f".{kind}"), buffer.getvalue())
