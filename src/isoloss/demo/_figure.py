"""The demo's figure: losses, gradient norm and the sweep, for every scene."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from isoloss._figure import GRID, matplotlib
from isoloss._files import write_file

STYLES: dict[str, dict[str, Any]] = {
    "SGD": {"color": "#74a9cf", "linestyle": "--"},
    "SGD + teleport": {"color": "#1b9e77", "linestyle": "-"},
    "SGD + balance": {"color": "#084594", "linestyle": "-"},
    "Adam": {"color": "#fdae61", "linestyle": "--"},
    "Adam + balance": {"color": "#b2182b", "linestyle": "-"},
}
"""Blue and green for SGD, orange and red for Adam; dashed stays where it is, solid moves on the level set."""

ROWS = {
    "training_loss": "training loss",
    "validation_loss": "validation loss",
    "gradient_norm": "gradient norm",
}


def plot(results: dict[str, Any], axes=None):
    """Draw the results of the demo.

    Rows are the training loss, the validation loss and the gradient norm; the last row also shows the sweep
    that chose each learning rate. Lines are medians over the seeds, bands their range, triangles the jumps.

    Args:
        results: What `run` returned, or results.json.
        axes: A 3 x 2k array of axes for k scenes; made if absent.

    Returns:
        The figure and its axes.

    Raises:
        ImportError: If matplotlib is absent.
    """
    scenes = list(results["scenes"].values())
    if axes is None:
        _, axes = _canvas(len(scenes))
    figure = axes.flat[0].figure
    for i, scene in enumerate(scenes):
        _scene(scene, axes[:, 2 * i : 2 * i + 2])
    for row in axes[:2]:
        _share([axis for axis in row], "y")
    _share(list(axes[2, 0::2]), "y")
    _share(list(axes[2, 1::2]), "y")
    _share(list(axes[:2, 1::2].flat), "x")
    _share(list(axes[2, 1::2]), "x")
    _legend(figure, seeds=results["settings"]["seeds"], columns=8 if len(scenes) > 1 else 3)
    return figure, axes


def save_figure(results: dict[str, Any], path: Path) -> Path:
    """Draw the results into a PNG file; half a file is never left."""
    figure, _ = plot(results)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return write_file(path, buffer.getvalue())


def _canvas(scenes: int):
    # A Figure of its own, not one of pyplot's, which would need a display or a global backend.
    figure = matplotlib().figure.Figure(figsize=(6.6 * scenes, 8.6), layout="constrained")
    return figure, figure.subplots(3, 2 * scenes)


def _scene(scene: dict[str, Any], axes) -> None:
    for name, entry in scene["contenders"].items():
        style = STYLES[name]
        curves = {key: _stack(entry["runs"], key) for key in ("epochs", "seconds", *ROWS)}
        for row, key in enumerate(ROWS):
            for column, along in enumerate(("epochs", "seconds") if row < 2 else ("epochs",)):
                _curve(axes[row, column], curves[along], curves[key], style)
                _jumps(axes[row, column], entry["runs"], curves, along, key, style)
        _sweep(axes[2, 1], entry, style)
    for row, label in enumerate(ROWS.values()):
        axes[row, 0].set(ylabel=label, xlabel="epoch", yscale="log")
        axes[row, 1].set(xlabel="seconds of training", yscale="log")
    axes[2, 1].set(xlabel="learning rate", ylabel="final training loss (sweep)", xscale="log", yscale="log")
    for axis in axes.flat:
        axis.grid(True, **GRID)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0, 0].set_title(scene["title"], loc="left", fontsize=11, fontweight="bold")


def _sweep(axis, entry: dict[str, Any], style: dict[str, Any]) -> None:
    """A thin line per seed, which ends where training diverges, and a star at the rate chosen for it."""
    for run in entry["runs"]:
        points = [p for p in entry["sweep"] if p["seed"] == run["seed"]]
        losses = [np.nan if p["training_loss"] is None else p["training_loss"] for p in points]
        axis.plot([p["learning_rate"] for p in points], losses, linewidth=0.9, alpha=0.55, **style)
        best = run["training_loss"][-1]
        if best is not None:
            axis.plot(run["learning_rate"], best, "*", markersize=8, color=style["color"], zorder=4)


def _stack(runs: list[dict[str, Any]], key: str) -> np.ndarray:
    """Values (seed, point), with nan where a run had diverged."""
    longest = max(len(run[key]) for run in runs)
    rows = [[np.nan if v is None else v for v in run[key]] for run in runs]
    return np.array([row + [np.nan] * (longest - len(row)) for row in rows], dtype=float)


def _curve(axis, x: np.ndarray, y: np.ndarray, style: dict[str, str]) -> None:
    x = x.mean(0)
    axis.fill_between(x, y.min(0), y.max(0), color=style["color"], alpha=0.18, linewidth=0)
    axis.plot(x, np.median(y, 0), linewidth=1.5, **style)


def _jumps(axis, runs, curves: dict[str, np.ndarray], along: str, key: str, style: dict[str, str]) -> None:
    """Triangles on the curve; in the gradient norm also the vertical step that the jump is."""
    jumps = runs[0]["jumps"]
    epochs = curves["epochs"][0]
    at = [int(np.abs(epochs - jump["epoch"]).argmin()) for jump in jumps]
    x, y = curves[along].mean(0)[at], np.median(curves[key], 0)[at]
    axis.plot(
        x,
        y,
        "v",
        markersize=4.5,
        color=style["color"],
        markeredgecolor="white",
        markeredgewidth=0.4,
        zorder=5,
    )
    if key == "gradient_norm":
        for i in range(len(jumps)):
            after = [run["jumps"][i]["after"][key] for run in runs if len(run["jumps"]) > i]
            if None not in after:
                axis.plot(
                    [x[i], x[i]], [y[i], np.median(after)], linewidth=1.0, color=style["color"], zorder=3
                )


def _share(axes, along: str) -> None:
    """Equal limits, so that the scenes can be compared by eye."""
    limits = [getattr(axis, f"get_{along}lim")() for axis in axes]
    for axis in axes:
        getattr(axis, f"set_{along}lim")(min(low for low, _ in limits), max(high for _, high in limits))


def _legend(figure, seeds: int, columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], linewidth=2, label=name, **style) for name, style in STYLES.items()]
    handles.append(Patch(color="#cccccc", label=f"range of {seeds} seeds (line: median)"))
    grey: dict[str, Any] = {"color": "#555555", "linestyle": ""}
    handles.append(Line2D([], [], marker="v", markersize=6, label="jump on the level set", **grey))
    handles.append(Line2D([], [], marker="*", markersize=10, label="learning rate chosen", **grey))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
