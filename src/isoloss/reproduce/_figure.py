"""What the figures share: those of `isoloss._figure`, and panels that compare contenders."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from isoloss._figure import canvas, color, curve, legend, logarithmic, save, shade

__all__ = [
    "canvas",
    "color",
    "curve",
    "frame_losses",
    "legend",
    "logarithmic",
    "outside",
    "panel_sweep",
    "save",
    "shade",
]


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
