"""Figure 6.7: generators of a tiny transformer, and how much of them is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, color, curve, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run
from isoloss.reproduce.experiments._shared_architectures import (
    ARCHITECTURES,
    null_dimension,
    null_of,
)
from isoloss.reproduce.experiments._shared_discovery import (
    HELD_OUT,
    Discovered,
    by_design,
    learn,
    shares,
    told,
    worst,
)
from isoloss.reproduce.experiments._shared_discovery_figures import hide, panel_generators, plain

NAME = "transformer"
DESIGNS = ("published", "ours", "linear")
PRINTED = 32
"""Parameters, in the text."""
UNKNOWN = 0.1
"""Part of the squared length outside of the known symmetries from which a direction is not explained by them."""
COUNTED = (1, 2, 4, 8, 11, 12, 16, 24)
"""Batches in the loss."""


@dataclass(frozen=True)
class DiscoveredTransformer(Discovered):
    """Dissertation Section 6.5.5."""


def run(settings: DiscoveredTransformer, network: str, design: str, seed: int) -> Run:
    """What is learned, and which part of it lies in the known symmetries, in the others of the batch, and outside."""
    found, run = learn(settings, network, design, seed)
    architecture = ARCHITECTURES[network]
    assert architecture.known is not None
    theta, x = architecture.drawn(settings.points, seed + HELD_OUT)
    directions = found.directions(theta, x)
    return run | {
        "known": shares(directions, architecture.known(theta)).mean(0).tolist(),
        "kept": shares(directions, null_of(architecture, settings.points, seed + HELD_OUT).directions)
        .mean(0)
        .tolist(),
    }


def count(settings: DiscoveredTransformer) -> Run:
    """Dimensions of the null space for more and more batches, of the known symmetries, and the printed shapes."""
    architecture = ARCHITECTURES[NAME]
    assert architecture.known is not None
    theta, _ = architecture.drawn(16, HELD_OUT)
    first, second = architecture.params["W1"], architecture.params["W2"]
    return {
        "batches": list(COUNTED),
        "null": [null_dimension(architecture, d, 16, HELD_OUT) for d in COUNTED],
        "known": int(torch.linalg.matrix_rank(architecture.known(theta)).median()),
        "parameters": architecture.space.size,
        # Z W2 W1 with rows Z of length d
        "fits": second[0] == architecture.params["Q"][0] and second[1] == first[0],
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """The text's own numbers, the symmetries, and the share of known ones."""
    runs, counted = results["runs"], results["count"]
    p, known, (one, *_) = counted["parameters"], counted["known"], counted["null"]
    many = counted["null"][-1]
    return [
        Finding(
            f"the model has p = {PRINTED} parameters, and FFN(Z) = Z W2 W1",
            p == PRINTED and counted["fits"],
            f"the printed shapes have {p}, and Z W1 W2 fits them, Z W2 W1 does not",
        ),
        _finding_found("published", runs["published"], "paper"),
        _finding_unknown("published", runs["published"], counted, "paper"),
        _finding_found("ours", runs["ours"], "control"),
        _finding_unknown("ours", runs["ours"], counted, "control"),
        _finding_found("linear", runs["linear"], "control"),
        _finding_unknown("linear", runs["linear"], counted, "control"),
        Finding(
            "there are symmetries of the network that are not known",
            many > known,
            f"the losses of {counted['batches'][-1]} batches keep {many} dimensions, the known symmetries (GL(2) of Q "
            f"and K, GL(4) of W1 and W2) have {known}; of one batch {one} of {p} directions keep the loss, as it "
            "is one number",
            "control",
        ),
    ]


def _finding_found(design: str, runs: Sequence[Run], kind: Any) -> Finding:
    good = [r["found"] for r in runs]
    why = next((f"; {r['reason']}" for r in runs if not r["found"]), "")
    foreign = [max(v for v in r["grade"]["foreign"] if v is not None) for r in runs]
    return Finding(
        f"{design} ({runs[0]['action']}): {len(runs[0]['generators'])} generators of symmetries are learned",
        all(good) if all(good) or not any(good) else None,
        f"in {sum(good)} of {len(good)} seeds; slope along the worst direction relative to random ones "
        f"{told(worst(runs))}, on other data {told(foreign)}{why}",
        kind,
    )


def _finding_unknown(design: str, runs: Sequence[Run], counted: Any, kind: Any) -> Finding:
    part = [float(np.mean(r["known"])) for r in runs]
    changing = [1 - float(np.mean(r["kept"])) for r in runs]
    chance = counted["known"] / counted["parameters"]
    among = counted["known"] / counted["null"][0]
    symmetric = all(r["found"] for r in runs)
    return Finding(
        f"{design}: the learned symmetries are not explained by known data-independent ones",
        symmetric and max(part) < 1 - UNKNOWN,
        f"{told([100 * v for v in part], '.0f')} % of the squared length of the directions lies in the known ones (of "
        f"random vectors {100 * chance:.0f} %, of random ones that keep the loss {100 * among:.0f} %), "
        f"{told([100 * v for v in changing], '.2g')} % along the gradient (of random vectors "
        f"{100 / counted['parameters']:.1f} %)"
        + ("" if symmetric else "; they are no symmetries to begin with"),
        kind,
    )


def plot(results: dict[str, Any]):
    """Generators and elements, published and ours; composition of the directions; count of dimensions."""
    runs = results["runs"]
    k = len(runs["published"][0]["generators"])
    figure, axes = canvas(6, k, width=1.75, height=1.6)
    for i, design in enumerate(("published", "ours")):
        rows = axes[2 * i], axes[2 * i + 1]
        panel_generators(figure, rows, runs[design][0]["generators"], NAME, design)
    hide([*axes[4], *axes[5]])
    grid = axes[0][0].get_gridspec()
    below = grid[4:, :].subgridspec(1, 3)
    wide = [figure.add_subplot(below[0, i]) for i in range(3)]
    for axis in wide:
        plain(axis)
    _panel_history(wide[0], runs)
    _panel_known(wide[1], runs, results["count"])
    _panel_count(wide[2], results["count"])
    return figure


def _panel_history(axis: Any, runs: Any) -> None:
    for i, d in enumerate(DESIGNS):
        longest = max((r["history"] for r in runs[d]), key=len)
        curve(axis, [s for s, _ in longest], [[v for _, v in r["history"]] for r in runs[d]], d, i)
    axis.axhline(0.1, color="#333333", linestyle=":", linewidth=0.8)
    logarithmic(axis, y=True)
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("relative slope", fontsize=8)
    axis.set_title("in training (dotted: found)")
    legend(axis)


def _panel_known(axis: Any, runs: Any, counted: Any) -> None:
    """The squared length in three parts, for each design, and for random vectors."""
    p, known, null = counted["parameters"], counted["known"], counted["null"][0]
    parts = {
        d: (np.mean([r["known"] for r in runs[d]]), 1 - np.mean([r["kept"] for r in runs[d]]))
        for d in DESIGNS
    }
    parts["random"] = (known / p, 1 - null / p)
    for x, (inside, changing) in enumerate(parts.values()):
        heights = (inside, 1 - inside - changing, changing)
        bottom = 0.0
        for j, (height, name) in enumerate(
            zip(heights, ("known", "this batch only", "changes the loss"), strict=True)
        ):
            axis.bar(x, height, 0.7, bottom=bottom, color=color((2, 0, 3)[j]), label=name if x == 0 else None)
            bottom += height
    axis.set_xticks(range(len(parts)), list(parts), fontsize=7)
    axis.set_ylabel("part of the move", fontsize=8)
    axis.set_title("what the directions are made of")
    axis.set_xlim(-0.6, len(parts) + 2.2)
    legend(axis, loc="center right")


def _panel_count(axis: Any, counted: Any) -> None:
    axis.plot(
        counted["batches"],
        counted["null"],
        "o-",
        markersize=3,
        linewidth=1.2,
        color=color(0),
        label="keep the losses",
    )
    axis.axhline(counted["known"], color=color(2), linewidth=1.2, label="known symmetries")
    axis.set(ylim=(0, counted["parameters"]))
    axis.set_xlabel("batches in the loss", fontsize=8)
    axis.set_ylabel("dimensions", fontsize=8)
    axis.set_title("directions")
    legend(axis)


@experiment(
    "discovered-transformer",
    shows="Figure 6.7",
    paper="Dissertation, Section 6.5.5",
    claim="The generators learned for a tiny transformer are not explained by its known data-independent symmetries "
    "and suggest previously unexplored data-dependent ones.",
    settings=DiscoveredTransformer,
    quick={"seeds": 1, "published_steps": 1500, "budget": 0.75},
    judge=judge,
    plot=plot,
)
def discovered_transformer(settings: DiscoveredTransformer, each: Each) -> dict[str, Any]:
    """Published, ours and a linear action over the seeds; counts."""
    runs = by_design([NAME], DESIGNS, settings.seeds, lambda cases: each(run, cases))
    return {"runs": runs[NAME], "count": each(count, [{}])[0]}
