"""What the figures share: axes, colours, curves with the range of the seeds."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoloss._files import write_file
from isoloss.demo._figure import GRID, matplotlib

COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#64b5cd", "#ccb974")

BEYOND = 1e12


def canvas(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 4.2,
    height: float = 3.4,
    solid: Collection[int] = (),
):
    """A figure and its axes, an array (rows, columns); no display is needed.

    Args:
        rows: How many.
        columns: How many.
        width: Of one column, in inches.
        height: Of one row.
        solid: Columns whose axes have three dimensions.
    """
    figure = matplotlib("reproduce").figure.Figure(
        figsize=(width * columns, height * rows), layout="constrained"
    )
    axes = np.empty((rows, columns), dtype=object)
    for i in range(axes.size):
        kind = "3d" if i % columns in solid else None
        axes.flat[i] = axis = figure.add_subplot(rows, columns, i + 1, projection=kind)
        axis.tick_params(which="both", labelsize=8)
        if kind is None:
            axis.grid(True, **GRID)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.label.set_fontsize(9)
        axis.yaxis.label.set_fontsize(9)
    return figure, axes


def color(index: int) -> str:
    """The colour of a contender, by its position."""
    return COLORS[index % len(COLORS)]


def shade(index: int, of: int) -> Any:
    """The colour of a value in an ordered set, from dark to light."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * index / max(of - 1, 1))


def curve(
    axis, x: Sequence[float], runs: Sequence[Sequence[float | None]], label: str, index: int, **style
) -> None:
    """The median over the runs as a line, the range of those that are finite as a band.

    Runs that diverged count as infinite: the line ends where they are half.
    """
    y = _stack(runs)
    at = np.asarray(x, dtype=float)[: y.shape[1]]
    y = y[:, : len(at)]
    shown = {"color": color(index), "linewidth": 1.4, "label": label} | style
    finite = np.ma.masked_invalid(y)
    if len(y) > 1:
        low, high = (np.ma.filled(reach(0), np.nan) for reach in (finite.min, finite.max))
        axis.fill_between(at, low, high, color=shown["color"], alpha=0.15, linewidth=0)
    with np.errstate(invalid="ignore"):
        middle = np.median(y, 0)
    axis.plot(at, np.where(np.isfinite(middle), middle, np.nan), **shown)


def _stack(runs: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Values (run, point); infinite where a run had diverged, also at numbers that no axis can show."""
    longest = max(len(run) for run in runs)
    rows = [
        [np.inf if v is None or not abs(v) <= BEYOND else v for v in run] + [np.inf] * (longest - len(run))
        for run in runs
    ]
    return np.array(rows, dtype=float)


def frame_losses(axis, runs: Iterable[Sequence[float | None]]) -> None:
    """A logarithmic axis from the lowest loss to a little above where all began: what diverged leaves the picture."""
    values = [of for of in ([v for v in run if v] for run in runs) if of] or [[1.0]]
    logarithmic(axis, y=True)
    axis.set_ylim(min(map(min, values)) / 1.3, 2 * max(of[0] for of in values))


def panel_sweep(
    axis, told: Mapping[str, Sequence[tuple[float, float]]], shared: float, best: Mapping[str, float]
) -> None:
    """Final losses against the learning rate, a line per contender, a ring at its best rate.

    Crosses at the upper edge are rates at which a seed diverged, or ended far above the others.

    Args:
        axis: Where.
        told: Pairs of rate and loss; not finite if a seed diverged.
        shared: The paper's rate, marked by a line.
        best: Everybody's best rate.
    """
    finite = [v for pairs in told.values() for _, v in pairs if np.isfinite(v)] or [1.0]
    there = [v for pairs in told.values() for r, v in pairs if r == shared and np.isfinite(v)]
    low, high = min(finite), max(finite)
    top = 2 * max(min(high, 1e4 * low), 2 * low, *(10 * v for v in there))
    logarithmic(axis, x=True, y=True)
    for i, (name, pairs) in enumerate(told.items()):
        shown = [(r, v if v <= top else np.nan) for r, v in sorted(pairs)]
        axis.plot(*zip(*shown, strict=True), "o-", markersize=3, linewidth=1.2, color=color(i), label=name)
        axis.plot(
            *zip(*[(r, v) for r, v in shown if r == best[name]], strict=True),
            "o",
            markersize=8,
            markerfacecolor="none",
            color=color(i),
        )
        # Side by side, so that those of several contenders are seen.
        beyond = [r * 1.06 ** (i - len(told) / 2) for r, v in shown if not np.isfinite(v)]
        axis.plot(
            beyond,
            [0.97] * len(beyond),
            "x",
            markersize=5,
            color=color(i),
            transform=axis.get_xaxis_transform(),
        )
    axis.axvline(shared, color="#777777", linewidth=0.8, linestyle=":")
    axis.set_ylim(low / 2, top)
    axis.set_xlabel("learning rate (ring: best, cross: diverged)")


def logarithmic(axis, *, x: bool = False, y: bool = False) -> None:
    """Logarithmic scales, with plain numbers as ticks where there are few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    for chosen, scale, side in ((x, axis.set_xscale, axis.xaxis), (y, axis.set_yscale, axis.yaxis)):
        if chosen:
            scale("log")
            side.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
            side.set_minor_formatter(FuncFormatter(lambda v, _, side=side: _minor(v, side)))
            side.set_major_formatter(FuncFormatter(lambda v, _: _number(v)))


def _minor(value: float, side) -> str:
    """Labels between the powers of ten, where these are fewer than three."""
    low, high = sorted(side.get_view_interval())
    few = low > 0 and np.log10(high / low) < 2.2
    return _number(value) if few else ""


def _number(value: float) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    return (
        f"$10^{{{round(np.log10(value))}}}$"
        if np.isclose(np.log10(value) % 1, [0, 1]).any()
        else f"{value:.0e}"
    )


def outside(axis, source, labels: Mapping[str, str] | None = None) -> None:
    """One legend for a row, to the right of its last axis.

    Args:
        axis: The last one.
        source: The axis whose lines are named.
        labels: What to write for the names of its lines.
    """
    handles, names = source.get_legend_handles_labels()
    texts = [(labels or {}).get(name, name) for name in names]
    axis.legend(handles, texts, fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def legend(axis, **options: Any) -> None:
    """A small legend."""
    axis.legend(fontsize=7, frameon=False, **options)


def save(figure, path: Path) -> None:
    """Write path.png and path.svg; half a file is never left, and equal figures give equal files."""
    import matplotlib as mpl

    for axis in figure.axes:
        axis.title.set_fontsize(10)
    with mpl.rc_context({"svg.hashsalt": "isoloss"}):
        for kind, options in (("png", {"dpi": 130}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **options)
            write_file(path.with_suffix(f".{kind}"), buffer.getvalue())
