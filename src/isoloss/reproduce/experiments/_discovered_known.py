"""Section 6.5.3: does what is learned span the symmetries of networks whose symmetries are known?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isoloss.discovery import linear_generators, principal_angles
from isoloss.reproduce._experiment import experiment
from isoloss.reproduce._figure import canvas, color, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run
from isoloss.reproduce.experiments._shared_architectures import (
    ARCHITECTURES,
    LABELS,
    null_of,
)
from isoloss.reproduce.experiments._shared_discovery import (
    HELD_OUT,
    Discovered,
    by_design,
    learn,
    told,
    worst,
)
from isoloss.reproduce.experiments._shared_discovery_figures import hide, panel_generators, plain

BAR = 5.0
"""Degrees."""
MINUTES = 5.0
ROUNDING = 1e-4
"""Degrees, of spans that are the same: where networks are ill-conditioned rounding is far above 1e-14."""
DESIGNS = ("published", "published, linear", "ours", "residual")
NETWORKS = ("linear", "relu", "attention")


@dataclass(frozen=True)
class DiscoveredKnown(Discovered):
    """Dissertation Section 6.5.3.

    The text has one data point; here there are 16, for ReLU 24, so that the losses have no more symmetries than the
    network.
    """

    networks: tuple[str, ...] = NETWORKS


def run(settings: DiscoveredKnown, network: str, design: str, seed: int) -> Run:
    """What is learned, and its largest principal angle to the known directions at each held-out point, in degrees."""
    found, run = learn(settings, network, design, seed)
    architecture = ARCHITECTURES[network]
    assert architecture.known is not None
    theta, x = architecture.drawn(settings.points, seed + HELD_OUT)
    return run | {"angles": largest_angle(found.directions(theta, x), architecture.known(theta)).tolist()}


def largest_angle(directions: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Of the principal angles, (n,), in degrees; 90 where directions are dependent."""
    return principal_angles(directions, true)[:, -1].nan_to_num(nan=90.0)


def exact(settings: DiscoveredKnown, network: str) -> Run:
    """What is known without learning: dimensions of null spaces, and all linear generators in closed form."""
    architecture = ARCHITECTURES[network]
    assert architecture.known is not None
    theta, _ = architecture.drawn(settings.points, HELD_OUT)
    known = architecture.known(theta)
    found = linear_generators(architecture.value, architecture.sample_params, architecture.sample_data)
    directions = found.directions(*architecture.drawn(settings.points, HELD_OUT))
    return {
        "null": null_of(architecture, settings.points, HELD_OUT).dimension.tolist(),
        "known": torch.linalg.matrix_rank(known).tolist(),
        "generators": len(found),
        "angle": float(largest_angle(directions, known).max()) if len(found) else 90.0,
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """The bar for every network: the published way, and ours; and the time."""
    runs = results["runs"]
    found = [_finding_angle(n, d, of[d]) for n, of in runs.items() for d in ("published", "ours")]
    found += [
        _finding_angle(n, d, of[d]) for n, of in runs.items() for d in ("published, linear", "residual")
    ]
    for design in DESIGNS:
        seconds = [r["seconds"] for of in runs.values() for r in of[design]]
        found.append(
            Finding(
                f"{design}: learned within {MINUTES:g} minutes on one thread",
                max(seconds) <= 60 * MINUTES,
                f"at most {max(seconds):.0f} s",
                "control",
            )
        )
    exact = results["exact"]
    equal = {n: float(np.mean(np.equal(c["null"], c["known"]))) for n, c in exact.items()}
    found.append(
        Finding(
            "the null space of the losses holds the known symmetries and nothing else at most held-out points",
            min(equal.values()) > 0.5,
            ", ".join(f"{LABELS[n]} {100 * v:.0f} %" for n, v in equal.items())
            + "; elsewhere a linear region of ReLUs has too few of the data points",
            "control",
        )
    )
    found.append(
        Finding(
            "without learning, in closed form (linear_generators): exactly the known ones",
            all(c["angle"] < ROUNDING for c in exact.values()),
            "; ".join(
                f"{LABELS[n]} {c['generators']}, angle {c['angle']:.0e} degrees" for n, c in exact.items()
            ),
            "control",
        )
    )
    return found


def _finding_angle(network: str, design: str, runs: list[Run]) -> Finding:
    medians = [float(np.median(r["angles"])) for r in runs]
    high = [float(np.quantile(r["angles"], 0.95)) for r in runs]
    most = [max(r["angles"]) for r in runs]
    return Finding(
        f"{LABELS[network]}, {design} ({runs[0]['action']}): the known directions are spanned to {BAR:g} degrees",
        max(high) <= BAR,
        f"largest principal angle at held-out points: median {told(medians)}, at 95 % of points below {told(high)}, at "
        f"all below {told(most)}; slopes relative to random directions {told(worst(runs))}",
        "paper" if design == "published" else "control",
    )


def plot(results: dict[str, Any]):
    """A row per network: how often an angle is exceeded, and the generators of the linear action."""
    columns = max(len(of["ours"][0]["generators"]) for of in results["runs"].values())
    figure, axes = canvas(2 * len(results["runs"]), 2 + columns, width=2.2, height=2.0)
    grid = axes[0][0].get_gridspec()
    for i, (network, of) in enumerate(results["runs"].items()):
        top, bottom = axes[2 * i], axes[2 * i + 1]
        for axis in (*top[:2], *bottom[:2]):
            axis.remove()
        wide = figure.add_subplot(grid[2 * i : 2 * i + 2, :2])
        for j, (design, runs) in enumerate(of.items()):
            for s, r in enumerate(runs):
                angles = np.sort(np.maximum(r["angles"], 1e-4))
                label = f"{design}: {r['action']}" if design in ("published", "ours") else design
                wide.plot(
                    angles,
                    np.linspace(0, 1, len(angles)),
                    color=color(j),
                    linewidth=1.3,
                    label=label if s == 0 else None,
                )
        wide.axvline(BAR, color="#333333", linestyle=":", linewidth=0.9)
        logarithmic(wide, x=True)
        plain(wide)
        wide.set_xlabel("largest principal angle (degrees; dotted: 5)", fontsize=9)
        wide.set_ylabel("part of held-out points below", fontsize=9)
        wide.set(title=LABELS[network], ylim=(0, 1.02), xlim=(None, 100))
        legend(wide, loc="center", bbox_to_anchor=(0.77, 0.5))
        generators = of["ours"][0]["generators"]
        panel_generators(figure, (top[2:], bottom[2:]), generators, network, "ours")
        hide([*top[2 + len(generators) :], *bottom[2 + len(generators) :]])
    return figure


@experiment(
    "discovered-known",
    shows="Section 6.5.3",
    paper="Dissertation, Section 6.5.3",
    claim="The method learns generators for known data-independent symmetries: GL(2) of a linear network, rescalings "
    "of a homogeneous one; and, as in every attention, GL(2) of queries and keys.",
    settings=DiscoveredKnown,
    quick={"seeds": 1, "published_steps": 500},
    judge=judge,
    plot=plot,
)
def discovered_known(settings: DiscoveredKnown, each: Each) -> dict[str, Any]:
    """All networks and designs over the seeds, and the dimensions of their null spaces."""
    runs = by_design(settings.networks, DESIGNS, settings.seeds, lambda cases: each(run, cases))
    told = each(exact, [{"network": n} for n in settings.networks])
    return {"runs": runs, "exact": dict(zip(settings.networks, told, strict=True))}
