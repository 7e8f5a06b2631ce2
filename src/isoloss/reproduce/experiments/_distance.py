"""Figure 5.5: the expected distance from a point to a shifted minimum, against the curvature of the minimum there."""

from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np

from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

STRAIGHT = 2 / pi
"""The expected distance to a straight line, in units of the shift (Eq. 5.6)."""


@dataclass(frozen=True)
class Distance(Settings):
    """Dissertation Section 5.2.4; the curves have no random numbers."""

    seeds: int = 1
    shifts: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    curvatures: int = 60
    """How many, from 0.01 to 10."""
    angles: int = 720


def distances(settings: Distance, curve: str, shift: float) -> dict[str, list[float]]:
    """Expected distance over shift, for every curvature."""
    kappas = np.geomspace(0.01, 10.0, settings.curvatures)
    # Midpoints: the distance has kinks where the circle of shifts crosses the curve.
    angles = (np.arange(settings.angles) + 0.5) * (2 * pi / settings.angles)
    x, y = shift * np.cos(angles), shift * np.sin(angles)
    of = to_parabola if curve == "parabola" else to_circle
    return {"curvature": kappas.tolist(), "distance": [float(of(x, y, k).mean() / shift) for k in kappas]}


def to_circle(x: np.ndarray, y: np.ndarray, curvature: float) -> np.ndarray:
    """The distance to the circle of this curvature through the origin, with centre above it (Eq. 5.3)."""
    radius = 1 / curvature
    return np.abs(np.hypot(x, y - radius) - radius)


def to_parabola(x: np.ndarray, y: np.ndarray, curvature: float) -> np.ndarray:
    """The distance to the parabola of this curvature at the origin, from the roots of a cubic (Eq. 5.3)."""
    k = curvature / 2
    best = np.full_like(x, np.inf)
    # d/dt of |(t, k t^2) - (x, y)|^2 / 2 = 2 k^2 t^3 + (1 - 2 k y) t - x
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        roots = np.roots([2 * k * k, 0.0, 1 - 2 * k * b, -a])
        t = roots[np.abs(roots.imag) < 1e-6 * (1 + np.abs(roots))].real
        best[i] = np.hypot(t - a, k * t * t - b).min()
    return best


def judge(results: dict[str, Any]) -> list[Finding]:
    """It depends on the curvature, in another way for each curve, and is 2 / pi where there is none."""
    flat = [d["distance"][0] for of in results["curves"].values() for d in of.values()]
    ranges = {
        c: [max(d["distance"]) - min(d["distance"]) for d in of.values()]
        for c, of in results["curves"].items()
    }
    slopes = {c: _finding_shape(next(iter(of.values()))) for c, of in results["curves"].items()}
    return [
        Finding(
            "without curvature the distance is 2 / π of the shift",
            all(abs(f / STRAIGHT - 1) < 0.01 for f in flat),
            f"{min(flat):.4f} to {max(flat):.4f} at curvature 0.01, against {STRAIGHT:.4f}",
        ),
        Finding(
            "the expected distance depends on the curvature",
            all(min(r) > 0.01 for r in ranges.values()),
            "; ".join(
                f"{c}: it varies by {min(r):.2f} to {max(r):.2f} of the shift" for c, r in ranges.items()
            ),
        ),
        Finding(
            "how it depends on the curvature differs between the curves",
            len(set(slopes.values())) > 1,
            "; ".join(f"{c}: {shape}" for c, shape in slopes.items()),
        ),
    ]


def _finding_shape(of: dict[str, list[float]]) -> str:
    d = np.array(of["distance"])
    rises, falls = (np.diff(d) > 1e-6).any(), (np.diff(d) < -1e-6).any()
    kappa = of["curvature"]
    if rises and falls:
        low, high = kappa[int(d.argmin())], kappa[int(d.argmax())]
        return f"falls and rises, lowest ({d.min():.3f}) at {low:.2g}, highest ({d.max():.3f}) at {high:.2g}"
    return f"{'rises' if rises else 'falls'} from {d[0]:.3f} to {d[-1]:.3f}"


def plot(results: dict[str, Any]):
    """A panel per curve, a line per shift."""
    figure, axes = canvas(1, len(results["curves"]))
    for axis, (name, of) in zip(axes[0], results["curves"].items(), strict=True):
        for i, (shift, d) in enumerate(of.items()):
            axis.plot(d["curvature"], d["distance"], color=color(i), label=shift)
        axis.axhline(STRAIGHT, color="#777777", linewidth=0.8, linestyle=":")
        axis.annotate("straight line: 2/π", (0.012, STRAIGHT), (0, 3), textcoords="offset points", fontsize=8)
        logarithmic(axis, x=True)
        axis.set(xlabel="curvature", ylabel="expected distance / shift", title=name)
        legend(axis, title="shift", title_fontsize=8, loc="upper left")
    return figure


@experiment(
    "distance",
    shows="Figure 5.5",
    paper="Dissertation, Section 5.2.4",
    claim="The expected distance between a point on a minimum and the shifted minimum depends on the curvature at the "
    "point; how, depends on the type of the curve.",
    settings=Distance,
    quick={},
    judge=judge,
    plot=plot,
)
def distance(settings: Distance, each: Each) -> dict[str, Any]:
    """Both curves, at every shift."""
    cases = [{"curve": c, "shift": s} for c in ("parabola", "circle") for s in settings.shifts]
    told: dict[str, Any] = {"parabola": {}, "circle": {}}
    for case, run in zip(cases, each(distances, cases), strict=True):
        told[case["curve"]][str(case["shift"])] = run
    return {"curves": told}
