"""What figures share: axes, colours, curves with a band, files."""

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from isoloss._files import write_file

COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#64b5cd", "#ccb974")
GRID = {"color": "#e6e6e6", "linewidth": 0.6}

BEYOND = 1e12
"""Numbers that no axis should show."""


def matplotlib(where: str = "demo") -> ModuleType:
    """Matplotlib, which is optional; where says who asks for it.

    Raises:
        ImportError: If it is absent.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(f"{where}: the figure needs matplotlib: pip install 'isoloss[{where}]'.") from error
    return matplotlib


def canvas(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 4.2,
    height: float = 3.4,
    solid: Collection[int] = (),
    where: str = "reproduce",
):
    """A figure and its axes, an array (rows, columns); no display is needed.

    Args:
        rows: How many.
        columns: How many.
        width: Of one column, in inches.
        height: Of one row.
        solid: Columns whose axes have three dimensions.
        where: Who asks, and the extra that provides matplotlib.
    """
    figure = matplotlib(where).figure.Figure(figsize=(width * columns, height * rows), layout="constrained")
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
    axis,
    x: Sequence[float],
    runs: Sequence[Sequence[float | None]],
    label: str,
    index: int,
    *,
    quartiles: bool = False,
    **style,
) -> None:
    """The median over the runs as a line, the range of those that are finite, or the quartiles of all, as a band.

    Runs that diverged count as infinite: the line ends where they are half.
    """
    y = _stack(runs)
    at = np.asarray(x, dtype=float)[: y.shape[1]]
    y = y[:, : len(at)]
    shown = {"color": color(index), "linewidth": 1.4, "label": label} | style
    finite = np.ma.masked_invalid(y)
    if len(y) > 1:
        if quartiles:
            low, high = np.minimum(np.quantile(y, (0.25, 0.75), axis=0, method="nearest"), BEYOND)
        else:
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
