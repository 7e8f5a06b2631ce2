"""Figure 6.3: the generator of a network with two weights, whose symmetry everyone knows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, color
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run
from isoloss.reproduce.experiments._shared_architectures import ARCHITECTURES
from isoloss.reproduce.experiments._shared_discovery import (
    HELD_OUT,
    Discovered,
    by_design,
    judge_length,
    learn,
    told,
    units,
)
from isoloss.reproduce.experiments._shared_discovery_figures import panel_generators

BAR = 0.99
"""Cosine with the true generator."""
DIRECTIONS = ("published", "published, linear", "ours", "residual", "anchored")
LINEAR = ("published, linear", "ours")
SHOWN = 40
"""Arrows in a panel."""


@dataclass(frozen=True)
class DiscoveredScalar(Discovered):
    """Dissertation Section 6.5.3, m = h = n = k = 1."""


def run(settings: DiscoveredScalar, network: str, design: str, seed: int) -> Run:
    """What is learned, against h = diag(1, -1) and its direction (w1, -w2)."""
    found, run = learn(settings, network, design, seed)
    theta, x = ARCHITECTURES[network].drawn(settings.points, seed + HELD_OUT)
    flat = found.params.flat(theta)
    true = units(flat * flat.new_tensor([1.0, -1.0]))
    direction = units(found.directions(theta, x)[:, 0])
    cosine = (direction * true).sum(1)
    return run | {
        "cosine": _cosine(found.generators[0]),
        "directions": cosine.abs().tolist(),
        "same way": max(float((cosine > 0).double().mean()), float((cosine < 0).double().mean())),
        "arrows": torch.cat([flat, direction], 1)[:SHOWN].tolist(),
    }


def _cosine(h: torch.Tensor) -> float:
    true = torch.diag(h.new_tensor([1.0, -1.0]))
    return float((h * true).sum().abs() / (h.norm() * true.norm()))


def normalized(generator: Any) -> list[list[float]]:
    """At the length and with the sign of diag(1, -1), which neither the loss nor the objective fix."""
    h = np.asarray(generator)
    return (h * 2**0.5 / (np.linalg.norm(h) or 1.0) * (1 if h[0, 0] >= h[1, 1] else -1)).tolist()


def judge(results: dict[str, Any]) -> list[Finding]:
    """Generators where they mean something, directions everywhere, and the group element."""
    runs = results["scalar"]

    def element(design: str) -> tuple[bool, str]:
        worst = 0.0
        for r in runs[design]:
            g = torch.linalg.matrix_exp(torch.tensor(normalized(r["generators"][0])))
            worst = max(
                worst,
                float(torch.stack([g[0, 1].abs(), g[1, 0].abs(), (g[0, 0] * g[1, 1] - 1).abs()]).max()),
            )
        return (
            worst < 0.2,
            f"off the diagonal, and of the product of the diagonal from 1, at most {worst:.2g}",
        )

    held, said = element("published")
    found = [
        Finding(
            "the learned generator h is that of rescaling, diag(1, -1) up to a factor (an MLP as action, as printed)",
            min(r["cosine"] for r in runs["published"]) >= BAR,
            f"cosine by seed {told([r['cosine'] for r in runs['published']], '.3f')}; an MLP may be fed the element in "
            "any coordinates, so h by itself says nothing",
        ),
        Finding("exp(h) is a rescaling (an MLP as action)", held, said),
        _finding_directions(
            "published", runs, "the learned direction is that of rescaling (an MLP)", "paper"
        ),
        _finding_generator(
            "published, linear",
            runs,
            "with the published objective and the linear action, h is that of rescaling",
            "paper",
        ),
        _finding_generator("ours", runs, "with our objective and the linear action, too", "control"),
    ]
    found += [
        _finding_directions(d, runs, f"{d}: the direction is that of rescaling", "control")
        for d in ("residual", "anchored")
    ]
    ways = [r["same way"] for r in runs["published"]]
    found.append(
        Finding(
            "published: the direction points the same way at all parameters, as that of a one-parameter group does",
            min(ways) > 0.99,
            f"at {told([100 * w for w in ways], '.0f')} % of held-out points",
            "control",
        )
    )
    found += [judge_length(runs[design], design) for design in ("published", "published, linear")]
    return found


def _finding_generator(design: str, runs: Any, statement: str, kind: Any) -> Finding:
    values = [r["cosine"] for r in runs[design]]
    return Finding(statement, min(values) >= BAR, f"cosine by seed {told(values, '.4f')}, bar {BAR}", kind)


def _finding_directions(design: str, runs: Any, statement: str, kind: Any) -> Finding:
    medians = [float(np.median(r["directions"])) for r in runs[design]]
    low = [float(np.quantile(r["directions"], 0.05)) for r in runs[design]]
    return Finding(
        statement,
        min(medians) >= BAR,
        f"median |cosine| with (w1, -w2) at held-out points {told(medians, '.4f')}, at the worst 5 % of points below "
        f"{told(low, '.3f')}",
        kind,
    )


def plot(results: dict[str, Any]):
    """Generators, elements, and the fields of directions on the hyperbolas that rescaling moves along."""
    runs = results["scalar"]
    titles = {"published": "published: MLP", "published, linear": "published: linear", "ours": "ours: linear"}
    titles |= {"residual": "ours: residual", "anchored": "ours: anchored"}
    figure, axes = canvas(3, 1 + len(titles), width=2.4, height=2.2)
    shown = {"true": [[1.0, 0.0], [0.0, -1.0]]}
    shown |= {titles[d]: normalized(runs[d][0]["generators"][0]) for d in titles}
    for column, (title, h) in zip(axes.T, shown.items(), strict=True):
        panel_generators(figure, [[column[0]], [column[1]]], [h], "scalar", title)
        for axis, matrix in zip(
            column[:2], (np.asarray(h), torch.linalg.matrix_exp(torch.tensor(h)).numpy()), strict=True
        ):
            for (i, j), value in np.ndenumerate(matrix):
                axis.text(
                    j,
                    i,
                    f"{value if abs(value) >= 0.005 else 0.0:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if abs(value) > 0.6 * np.abs(matrix).max() else "#333333",
                )
    _panel_field(axes[2][0], None, "rescaling")
    for i, (axis, design) in enumerate(zip(axes[2][1:], titles, strict=True)):
        _panel_field(axis, runs[design][0]["arrows"], titles[design], color(i))
    return figure


def _panel_field(axis: Any, arrows: Any, title: str, shade: str = "#333333") -> None:
    """Directions, on the curves w1 w2 = const."""
    w = np.linspace(0.05, 3, 100)
    for c in (0.25, 1.0, 2.5):
        for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            axis.plot(s * w, t * c / w, color="#cccccc", linewidth=0.8)
    if arrows is None:
        points = np.array([(a, b) for a in np.linspace(-2, 2, 6) for b in np.linspace(-2, 2, 6)])
        there = np.concatenate([points, points * [1, -1] / np.linalg.norm(points, axis=1)[:, None]], 1)
    else:
        there = np.asarray(arrows)
    axis.quiver(*there.T, color=shade, angles="xy", scale=9, width=0.009, zorder=3)
    axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xlabel="$w_1$", title=title)
    axis.set_aspect("equal")


@experiment(
    "discovered-scalar",
    shows="Figure 6.3",
    paper="Dissertation, Section 6.5.3",
    claim="For a two-layer linear network with scalar parameters and data, the learned generator matches the expected "
    "one, which generates the rescaling group.",
    settings=DiscoveredScalar,
    quick={"seeds": 2},
    judge=judge,
    plot=plot,
)
def discovered_scalar(settings: DiscoveredScalar, each: Each) -> dict[str, Any]:
    """All designs over the seeds."""
    return by_design(["scalar"], DIRECTIONS, settings.seeds, lambda cases: each(run, cases))
