"""The figure of a trial: losses on unseen tasks, the training, what each learned teleport did."""

from collections.abc import Mapping
from math import log10
from typing import Any

import numpy as np

from isoloss._figure import canvas, color, curve, legend, logarithmic
from isoloss.learn.trial._verdict import labels

STYLES: dict[str, dict[str, Any]] = {
    "learned": {"color": "#b2182b", "linewidth": 2.0, "zorder": 5},
    "identity": {"color": "#dd8452", "linestyle": "--"},
    "mean-rate": {"color": "#8172b3", "linestyle": "--"},
    "gd": {"color": "#4c72b0"},
    "momentum": {"color": "#64b5cd"},
    "adam": {"color": "#55a868"},
    "gd-teleport": {"color": "#937860"},
}
"""The learned one red, its ablations dashed, what learns nothing in cold colours."""
FLOOR = 1e-17
"""Where relative changes of the loss that are 0 are drawn."""
FEW = 6
"""Steps with teleports up to which each is named."""


def plot(results: Mapping[str, Any]):
    """Draw the results of a trial.

    Left, losses on unseen tasks: medians and quartiles, with a line at the trained horizon. Middle, meta-losses of the
    training. Right, if there were teleports, gain of the gradient norm and relative change of the loss of each.

    Args:
        results: What `trial` returned, or results.json.

    Returns:
        The figure and its axes, an array (1, panels).

    Raises:
        ImportError: If matplotlib is absent.
    """
    jumped = bool(results["contenders"]["learned"]["jumps"])
    figure, axes = canvas(1, 3 if jumped else 2, width=4.4, height=4.1, where="learn")
    _losses(axes[0, 0], results)
    _training(axes[0, 1], results)
    if jumped:
        _teleports(axes[0, 2], results["contenders"]["learned"])
    return figure, axes


def _losses(axis, results: Mapping[str, Any]) -> None:
    names, test = labels(results), results["test"]
    for i, (name, run) in enumerate(results["contenders"].items()):
        label = names[name] + ("" if run["rate"] is None else f" ({run['rate']:.2g})")
        style = STYLES.get(name, {"color": color(i)})
        curve(axis, run["steps"], run["losses"], label, i, quartiles=True, **style)
    _frame(axis, results)
    axis.set_xscale("symlog", linthresh=1, linscale=0.3)
    axis.set_xlim(0, test["steps"])
    horizon = results["recipe"]["horizon"]
    if horizon < test["steps"]:
        axis.axvline(horizon, color="#777777", linewidth=0.8, linestyle=":")
        axis.annotate(
            "trained horizon",
            (horizon, 0.99),
            xycoords=("data", "axes fraction"),
            fontsize=7,
            color="#555555",
            rotation=90,
            ha="right",
            va="top",
        )
    axis.set(xlabel="step", ylabel="loss", title=f"(a) {results['task']}: {test['tasks']} unseen tasks")
    axis.xaxis.set_major_formatter(lambda step, _: f"{step:g}")
    axis.figure.legend(
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
        title="medians with quartiles of the tasks; in brackets learning rates: of baselines the best, "
        "tuned on other tasks",
        title_fontsize=8,
    )


def _frame(axis, results: Mapping[str, Any]) -> None:
    """From below the lowest median to a little above the start: what diverges leaves the picture."""
    runs = results["contenders"].values()
    stacks = [
        np.array([[np.inf if v is None else v for v in of] for of in run["losses"]], float) for run in runs
    ]
    start = max(float(np.max(y[:, 0], initial=0.0, where=np.isfinite(y[:, 0]))) for y in stacks)
    if start == 0.0:
        return
    medians = np.concatenate([np.quantile(y, 0.5, axis=0, method="nearest") for y in stacks])
    lowest = max(float(np.min(medians, initial=start, where=medians > 0)), 1e-40 * start)
    logarithmic(axis, y=True)
    # A fifth of the picture for the bands below the medians.
    axis.set_ylim(lowest / max(2.0, (start / lowest) ** 0.2), 3 * start)


def _training(axis, results: Mapping[str, Any]) -> None:
    history, batch = results["history"], results["recipe"]["batch"]
    at = [batch * (record["run"] + 1) for record in history]
    told = [np.nan if record["meta_loss"] is None else record["meta_loss"] for record in history]
    axis.plot(at, told, color="#4c72b0", linewidth=1.2, label="training runs")
    checked = [
        (x, record["validation"])
        for x, record in zip(at, history, strict=True)
        if record["validation"] is not None
    ]
    if checked:
        x, y = zip(*checked, strict=True)
        axis.plot(x, y, "o-", color="#dd8452", markersize=4, linewidth=1.2, label="validation tasks")
        best = int(np.argmin(y))
        untrained = results["untrained"]
        axis.plot(
            0 if untrained else x[best],
            results["validation"] if untrained else y[best],
            "o",
            markersize=9,
            markerfacecolor="none",
            color="#b2182b",
            label="untrained: kept" if untrained else "the best: kept",
        )
    kind = results["recipe"]["objective"]
    axis.set(
        xlabel="trajectories trained on",
        ylabel="mean log loss" if kind == "log" else "mean loss",
        title="(b) meta-training",
    )
    if kind == "value":
        known = [v for v in told if np.isfinite(v)]
        if known and min(known) > 0 and max(known) > 30 * min(known):
            logarithmic(axis, y=True)
    legend(axis, loc="best")


def _teleports(axis, run: Mapping[str, Any]) -> None:
    """A dot per teleport: right what changes the loss, above what raises the gradient; rings are refused."""
    rows = [
        (step, gain, abs(change), size)
        for step, *rest in zip(run["jumps"], run["gains"], run["changes"], run["sizes"], strict=True)
        for gain, change, size in zip(*rest, strict=True)
        if gain is not None and change is not None
    ]
    logarithmic(axis, x=True, y=True)
    steps = sorted({step for step, *_ in rows})
    taken = np.array([row for row in rows if row[3]], dtype=float).reshape(-1, 4)
    refused = np.array([row for row in rows if not row[3]], dtype=float).reshape(-1, 4)
    colored = len(steps) > 1
    dots = axis.scatter(
        np.maximum(taken[:, 2], FLOOR),
        taken[:, 1],
        c=np.log10(1 + taken[:, 0]) if colored else "#b2182b",
        cmap="viridis" if colored else None,
        s=22,
        alpha=0.8,
        linewidths=0,
    )
    if len(refused):
        axis.scatter(
            np.maximum(refused[:, 2], FLOOR),
            refused[:, 1],
            s=22,
            facecolors="none",
            edgecolors="#777777",
            label=f"refused: {len(refused)}",
        )
        legend(axis, loc="lower right")
    axis.axhline(1.0, color="#777777", linewidth=0.8, linestyle=":")
    title = (
        "(c) learned teleports" if colored else f"(c) learned teleports at step {steps[0] if steps else 0}"
    )
    axis.set(
        xlabel="relative change of the loss (0 at the left)",
        ylabel="gradient norm, after / before",
        title=title,
    )
    _room(axis, rows)
    if colored:
        bar = axis.figure.colorbar(dots, ax=axis, pad=0.02)
        decades = [step for step in (0, 1, 10, 100, 1000, 10_000) if steps[0] <= step <= steps[-1]]
        ticks = steps if len(steps) <= FEW else decades
        bar.set_ticks([log10(1 + step) for step in ticks], labels=[str(step) for step in ticks])
        bar.set_label("step", fontsize=8)
        bar.ax.tick_params(labelsize=7)


def _room(axis, rows) -> None:
    """At least a decade around all dots, and the line of no gain."""
    changes = [max(change, FLOOR) for _, _, change, _ in rows] or [FLOOR]
    gains = [gain for _, gain, _, _ in rows if gain > 0] + [1.0]
    axis.set_xlim(min(changes) / 5, max(changes) * 5)
    axis.set_ylim(min(gains) / 1.6, max(gains) * 1.6)
