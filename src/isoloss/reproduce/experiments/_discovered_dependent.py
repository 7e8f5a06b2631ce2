"""Figures 6.4 and 6.5: symmetries of sigmoid and tanh networks that hold on given data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, color, curve, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run
from isoloss.reproduce.experiments._shared_architectures import (
    ARCHITECTURES,
    LABELS,
    Architecture,
    null_dimension,
)
from isoloss.reproduce.experiments._shared_discovery import (
    HELD_OUT,
    Discovered,
    by_design,
    judge_length,
    layer_shares,
    learn,
    told,
    worst,
)
from isoloss.reproduce.experiments._shared_discovery_figures import hide, panel_generators, plain, symbol

DESIGNS = ("published", "ours", "linear", "untrained")
DIFFERENT = 0.01
"""A derivative by the data, relative to the directions, that is not zero."""
FOREIGN = 3.0
"""Times as steep on other data: the symmetry needs its own."""
ORTHOGONAL = 0.1
"""Largest cosine of orthogonal generators."""
ACTION = 0.1
"""Largest defect of a group action, relative to the length of the moves."""
UNSEEN = 0.9
"""Part of the squared length from which such moves explain a direction."""
IDLE = 0.05
"""A layer with a smaller part of the squared length does not move."""


@dataclass(frozen=True)
class DiscoveredSigmoid(Discovered):
    """Dissertation Section 6.5.4."""

    networks: tuple[str, ...] = ("sigmoid",)


@dataclass(frozen=True)
class DiscoveredTanh(Discovered):
    """Dissertation Section 6.5.4; the first one is that of Figure 6.5."""

    networks: tuple[str, ...] = field(default=("three-layer", "tanh", "skip"))


def run(settings: Discovered, network: str, design: str, seed: int) -> Run:
    """What is learned, and which layers its directions move."""
    found, run = learn(settings, network, design, seed)
    architecture = ARCHITECTURES[network]
    theta, x = architecture.drawn(settings.points, seed + HELD_OUT)
    directions = found.directions(theta, x)
    return run | {
        "layers": layer_shares(architecture, directions).tolist(),
        "unseen": unseen(directions, theta["W1"], x["X"]).tolist(),
    }


def unseen(directions: torch.Tensor, first: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    r"""The part of the squared length that moves the first layer where its inputs do not see it, (k,), averaged.

    Such moves, :math:`\delta W_1 X = 0`, keep all that a network does with these inputs, whatever it is. The first
    layer is the first of the coordinates.

    Args:
        directions: (n, k, p).
        first: (n, h, i).
        x: (n, i, d).
    """
    moves = directions[..., : first[0].numel()].unflatten(-1, first.shape[1:])
    seen = moves @ (x @ torch.linalg.pinv(x))[:, None]
    part = (moves - seen).square().sum((-1, -2)) / directions.square().sum(-1).clamp_min(1e-12)
    return part.mean(0)


def count(settings: Discovered, network: str) -> Run:
    """Median dimension of the null space of d losses at one parameter, for d from 1 to p + 2.

    In all parameters, and in those of the first and the last layer alone.
    """
    architecture = ARCHITECTURES[network]
    points = list(range(1, architecture.space.size + 3))
    told = {
        word: [null_dimension(which, d, 32, HELD_OUT) for d in points]
        for word, which in (("all", architecture), ("outer", outer_layers(architecture)))
    }
    return {"points": points, "parameters": architecture.space.size, **told}


def outer_layers(architecture: Architecture) -> Architecture:
    """The same loss as a function of its first and last layer; the layers between are data."""
    first, *held, last = architecture.params
    return replace(
        architecture,
        value=lambda w, x: architecture.value({**w, **{name: x[name] for name in held}}, x),
        params={name: architecture.params[name] for name in (first, last)},
        shapes=lambda d: architecture.shapes(d) | {name: architecture.params[name] for name in held},
    )


def judge(results: dict[str, Any]) -> list[Finding]:
    """For every network whether there is a symmetry, whether it needs its data, and what it is worth."""
    found = []
    for network, of in results["runs"].items():
        found += _finding_network(network, of, results["counts"][network])
    if "three-layer" in results["runs"]:
        found.append(
            _finding_layers(results["runs"]["three-layer"]["published"], results["counts"]["three-layer"])
        )
    return found + _finding_objective(results["runs"])


def _finding_network(network: str, of: Any, count: Any) -> list[Finding]:
    name, published = LABELS[network], of["published"]
    derivative, untrained = (
        [r["grade"]["data_derivative"] for r in of[d]] for d in ("published", "untrained")
    )
    points, dimensions, p = count["points"], count["all"], count["parameters"]
    return [
        _finding_found(f"{name}: the published objective finds a symmetry", published, "paper"),
        Finding(
            f"{name}: the derivative of the learned action with respect to data is not zero",
            min(derivative) > DIFFERENT,
            f"{told(derivative)} of the directions per unit of data; of an untrained action {told(untrained)}",
        ),
        _finding_found(f"{name}: our objective does ({of['ours'][0]['action']})", of["ours"], "control"),
        *(
            Finding(
                f"{name}, {d}: the directions of one batch keep the loss on it, not on others",
                all(f > FOREIGN * o for f, o in zip(_foreign(of[d]), _own(of[d]), strict=True)),
                f"relative slopes {told(_own(of[d]))} on its own data, {told(_foreign(of[d]))} on other data",
                "control",
            )
            for d in ("published", "ours")
        ),
        Finding(
            f"{name}, ours: the directions do more than moves of W1 that the inputs do not see, δW1 X = 0",
            min(min(r["unseen"]) for r in of["ours"]) < UNSEEN,
            f"these make {told([100 * float(np.mean(r['unseen'])) for r in of['ours']], '.0f')} % of their squared "
            f"length (published {told([100 * float(np.mean(r['unseen'])) for r in published], '.0f')} %)",
            "control",
        ),
        _finding_found(
            f"{name}: there is a linear symmetry without data (negative control)", of["linear"], "control"
        ),
        Finding(
            f"{name}: more directions keep d losses than the p - d that any d gradients leave",
            any(n > max(p - d, 0) for d, n in zip(points, dimensions, strict=True)),
            f"{dimensions[0]} of {p} for one data point, {dimensions[p // 2 - 1]} for {p // 2}, "
            f"{dimensions[p - 1]} for {p}: one number keeps its value along all directions but one",
            "control",
        ),
    ]


def _finding_found(statement: str, runs: Sequence[Run], kind: Any) -> Finding:
    good = [r["found"] for r in runs]
    why = next((f"; {r['reason']}" for r in runs if not r["found"]), "")
    return Finding(
        statement,
        all(good) if all(good) or not any(good) else None,
        f"in {sum(good)} of {len(good)} seeds; slope along the worst direction relative to random ones "
        f"{told(worst(runs))}{why}",
        kind,
    )


def _finding_layers(runs: Sequence[Run], count: Any) -> Finding:
    middle = [layer[1] for r in runs for layer in r["layers"]]
    outer = [min(layer[0], layer[2]) for r in runs for layer in r["layers"]]
    apart = sum(m < IDLE <= o for m, o in zip(middle, outer, strict=True))
    return Finding(
        f"{LABELS['three-layer']}: generators act on non-contiguous layers, the first and the last alone",
        apart > 0,
        f"{apart} of {len(middle)} do; their directions move W2 by {100 * min(middle):.0f} % to "
        f"{100 * max(middle):.0f} % of the squared length (4 of 10 parameters). Blocks of h do not tell: an MLP reads "
        f"h in any coordinates. {count['outer'][0]} of the 6 directions of W1 and W3 alone keep one loss, "
        f"{count['outer'][5]} keep 6",
    )


def _finding_objective(runs: Any) -> list[Finding]:
    """What the regularizers of the published objective come to."""
    published = [r for of in runs.values() for r in of["published"]]
    sums = [float(np.sum(r["cosines"])) for r in published]
    largest = [float(np.max(np.abs(r["cosines"]))) for r in published]
    defects = [r["composition"] for r in published]
    terms = [r["grade"]["associativity"] for r in published]
    return [
        Finding(
            "published: the regularizer L_orth makes the generators orthogonal",
            max(largest) < ORTHOGONAL,
            f"largest |cosine| {told(largest)}; their sum, which is minimized, {told(sums)}: it falls below 0, the "
            f"value of orthogonal ones, as far as {-len(published[0]['generators'])}/2",
            "control",
        ),
        judge_length(published, "published"),
        Finding(
            "published: the learned map is a group action",
            max(defects) < ACTION,
            f"a(g2, a(g1, θ)) and a(g2 g1, θ) differ by {told(defects)} of the length of the moves; the term of "
            f"Theorem 6.3.2, relative to the directions, is {told(terms)}",
            "control",
        ),
    ]


def _own(runs: Sequence[Run]) -> list[float]:
    return [_mean_square(r["grade"]["invariance"]) for r in runs]


def _foreign(runs: Sequence[Run]) -> list[float]:
    return [_mean_square(r["grade"]["foreign"]) for r in runs]


def _mean_square(values: Sequence[float | None]) -> float:
    known = [np.inf if v is None else v for v in values]
    return float(np.sqrt(np.mean(np.square(known))))


def plot(results: dict[str, Any]):
    """Generators and elements of the first network, published and ours, and four panels of numbers."""
    network, of = next(iter(results["runs"].items()))
    k = len(of["published"][0]["generators"])
    figure, axes = canvas(4, k + 2, width=2.1, height=1.95)
    for i, design in enumerate(("published", "ours")):
        rows = axes[2 * i, :k], axes[2 * i + 1, :k]
        panel_generators(figure, rows, of[design][0]["generators"], network, design)
    grid = axes[0][0].get_gridspec()
    wide = []
    for i in range(4):
        hide(list(axes[i, k:]))
        axis = figure.add_subplot(grid[i, k:])
        plain(axis)
        wide.append(axis)
    _panel_slopes(wide[0], results["runs"])
    _panel_history(wide[1], of)
    _panel_layers(wide[2], network, of)
    _panel_count(wide[3], results["counts"])
    return figure


def _panel_slopes(axis: Any, runs: Any) -> None:
    """Slopes along the directions on their own data, and on other data."""
    x = 0
    ticks: list[tuple[float, str]] = []
    for network, of in runs.items():
        for i, d in enumerate(("published", "ours", "linear")):
            for values, marker, fill in ((_own(of[d]), "o", True), (_foreign(of[d]), "o", False)):
                axis.plot(
                    [x] * len(values), values, marker, markersize=4.5, color=color(i),
                    markerfacecolor=color(i) if fill else "none",
                )  # fmt: skip
            ticks.append((x, d))
            x += 1
        axis.text(x - 2, 3.2, LABELS[network], ha="center", fontsize=7)
        x += 0.6
    axis.axhline(0.1, color="#333333", linestyle=":", linewidth=0.8)
    logarithmic(axis, y=True)
    axis.set(ylim=(0.006, 6))
    axis.set_xticks([t for t, _ in ticks], [t for _, t in ticks], fontsize=6.5, rotation=20)
    axis.set_ylabel("relative slope", fontsize=8)
    axis.set_title("on own data (filled), on other data (rings)")


def _panel_history(axis: Any, of: Any) -> None:
    for i, d in enumerate(("published", "ours", "linear")):
        steps = max((r["history"] for r in of[d]), key=len)
        curve(axis, [s for s, _ in steps], [[v for _, v in r["history"]] for r in of[d]], d, i)
    axis.axhline(0.1, color="#333333", linestyle=":", linewidth=0.8)
    logarithmic(axis, y=True)
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("relative slope", fontsize=8)
    axis.set_title("in training (dotted: found)")
    legend(axis, loc="best")


def _panel_layers(axis: Any, network: str, of: Any) -> None:
    """Which layers each direction moves."""
    names = list(ARCHITECTURES[network].params)
    x, ticks = 0.0, []
    for d in ("published", "ours"):
        shares = np.array(of[d][0]["layers"])
        for i, row in enumerate(shares):
            for j, (low, share) in enumerate(zip(np.cumsum([0, *row[:-1]]), row, strict=True)):
                axis.bar(
                    x, share, 0.8, bottom=low, color=color(j), label=symbol(names[j]) if x == 0 else None
                )
            axis.bar(
                x, of[d][0]["unseen"][i], 0.8, facecolor=color(0), hatch="///", edgecolor="#ffffff", linewidth=0,
                label=r"$\delta W_1 X = 0$" if x == 0 else None,
            )  # fmt: skip
            ticks.append((x, str(i + 1)))
            x += 1
        axis.text(x - len(shares) / 2 - 0.5, 1.04, d, ha="center", fontsize=7)
        x += 0.6
    axis.set_xticks([t for t, _ in ticks], [t for _, t in ticks])
    axis.set(ylim=(0, 1.15))
    axis.set_ylabel("part of the move", fontsize=8)
    axis.set_title("layers that each direction moves")
    legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _panel_count(axis: Any, counts: Any) -> None:
    styles = {"three-layer": "-", "skip": "--"}
    for i, (network, of) in enumerate(counts.items()):
        axis.plot(
            of["points"], of["all"], styles.get(network, "-"), marker="o", markersize=3, linewidth=1.2,
            color=color(i), label=LABELS[network],
        )  # fmt: skip
    axis.set_xlabel("data points in the loss", fontsize=8)
    axis.set_ylabel("dimensions", fontsize=8)
    axis.set_title("directions that keep the losses")
    legend(axis, loc="upper right")


def _study(settings: Any, each: Each) -> dict[str, Any]:
    runs = by_design(settings.networks, DESIGNS, settings.seeds, lambda cases: each(run, cases))
    counts = each(count, [{"network": n} for n in settings.networks])
    return {"runs": runs, "counts": dict(zip(settings.networks, counts, strict=True))}


@experiment(
    "discovered-sigmoid",
    shows="Figure 6.4",
    paper="Dissertation, Section 6.5.4",
    claim="Data-dependent symmetries of a two-layer sigmoid network are learned, though it has no data-independent "
    "continuous ones; the derivative of the learned action with respect to data is nonzero.",
    settings=DiscoveredSigmoid,
    quick={"seeds": 2, "published_steps": 1000},
    judge=judge,
    plot=plot,
)
def discovered_sigmoid(settings: DiscoveredSigmoid, each: Each) -> dict[str, Any]:
    """Published, ours, a linear action and an untrained one, and the count of dimensions."""
    return _study(settings, each)


@experiment(
    "discovered-tanh",
    shows="Figure 6.5",
    paper="Dissertation, Section 6.5.4",
    claim="Data-dependent symmetries of tanh networks of two and three layers, also with a skip connection, are "
    "learned; in the three-layer one generators act on non-contiguous layers.",
    settings=DiscoveredTanh,
    quick={"networks": ("three-layer", "tanh"), "seeds": 1, "published_steps": 1000},
    judge=judge,
    plot=plot,
)
def discovered_tanh(settings: DiscoveredTanh, each: Each) -> dict[str, Any]:
    """The same for three networks."""
    return _study(settings, each)
