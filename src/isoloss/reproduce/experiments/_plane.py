"""Figures 2.1 and 2.6: the minimum of a linear network with two weights, and the flow to it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isoloss import find, flow, landscape
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

V, U = "0.weight", "1.weight"

TOLERANCE = 1e-5
"""Of what the flow reaches or keeps: a thousand times the integrator's relative tolerance."""

ROUNDING = 1e-12
"""Of what holds at a point, in float64."""


@dataclass(frozen=True)
class Plane(Settings):
    """Dissertation Figure 2.6: L = 1/2 |Y - U V X|^2 with X = 1; there is nothing random."""

    seeds: int = 1
    target: float = 2.0
    """Y."""
    charges: tuple[float, ...] = (-6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0)
    """Q = U^2 - V^2 of the trajectories."""
    products: tuple[float, ...] = (0.1, 6.0)
    """U V where they start, on either side of the minimum."""
    time: float = 10.0
    points: int = 61


def network() -> nn.Sequential:
    """x -> U V x."""
    return nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()


def on_hyperbola(charge: float, product: float) -> dict[str, Tensor]:
    """The weights, U and V positive, with U^2 - V^2 and U V given."""
    root = (charge**2 + 4 * product**2) ** 0.5
    u, v = ((charge + root) / 2) ** 0.5, ((root - charge) / 2) ** 0.5
    return {V: torch.tensor([[v]], dtype=torch.float64), U: torch.tensor([[u]], dtype=torch.float64)}


def trajectory(settings: Plane, charge: float, product: float) -> dict[str, Any]:
    """The flow from one point, and how far the conserved quantity has come."""
    here = on_hyperbola(charge, product)

    def loss(p: dict[str, Tensor]) -> Tensor:
        return (settings.target - p[U] @ p[V]).square().sum() / 2

    # Fast at first, so that equal steps of time would leave corners in the picture.
    t = settings.time * torch.linspace(0, 1, settings.points, dtype=torch.float64) ** 4
    path = flow.gradient_flow(loss, here, t)
    quantities = flow.conserved_quantities(find(network(), torch.ones(2, 1).double()))
    (drift,) = quantities.drift(path).values()
    return {
        "charge": charge,
        "u": path.tensors[U].flatten().tolist(),
        "v": path.tensors[V].flatten().tolist(),
        "loss": float(path.losses[-1]),
        "drift": float(drift.max()),
    }


def valley(settings: Plane) -> dict[str, Any]:
    """The minimum as an orbit: points, their losses and quantities, and the eigenvalues of the Hessian there."""
    model = network()
    symmetries = find(model, torch.ones(2, 1).double()).where(lambda s: s.dim > 0)
    base = on_hyperbola(0.0, settings.target)
    told: dict[str, list[float]] = {
        k: [] for k in ("u", "v", "quantity", "loss", "flat", "sharpness", "printed")
    }
    x, y = torch.ones(1, 1).double(), torch.full((1, 1), settings.target).double()
    for factor in torch.linspace(-1.0, 1.0, 41, dtype=torch.float64).exp():
        here = base | symmetries.act([factor.reshape(1)], base)
        q = float(here[U].square() - here[V].square())
        seen = landscape.spectrum(model, lambda: (y - model(x)).square().sum() / 2, at=here)
        flat, sharp = seen.eigenvalues.tolist()
        values = (float(here[U]), float(here[V]), q, seen.loss, flat, sharp)
        printed = 2 * (q**2 + 4 * settings.target**2) ** 0.5  # Eq. (2.53), which has Y = 1
        for name, value in zip(told, (*values, printed), strict=True):
            told[name].append(value)
    return told


def judge(results: dict[str, Any]) -> list[Finding]:
    """Orbit and flow; then the eigenvalues against Eq. (2.53)."""
    paths, along = results["trajectories"], results["valley"]
    ends = {t["charge"]: [] for t in paths}
    for t in paths:
        root = (t["charge"] ** 2 + 4 * results["target"] ** 2) ** 0.5
        u, v = ((t["charge"] + root) / 2) ** 0.5, ((root - t["charge"]) / 2) ** 0.5
        ends[t["charge"]].append(float(np.hypot(t["u"][-1] - u, t["v"][-1] - v)))
    miss, drift = max(max(e) for e in ends.values()), max(t["drift"] for t in paths)
    q = along["quantity"]
    order = np.diff(q)
    ratio = np.array(along["sharpness"]) / np.array(along["printed"])
    least = q[int(np.argmin(along["sharpness"]))]
    return [
        Finding(
            "the scaling symmetry relates the points of the minimum, and Q parametrizes them",
            max(along["loss"]) < ROUNDING and bool((order > 0).all() or (order < 0).all()),
            f"loss at most {max(along['loss']):.0e} at {len(q)} points of the orbit; Q runs from {max(q):.3g} to "
            f"{min(q):.3g} without turning",
        ),
        Finding(
            "trajectories with different Q meet the minimum at different points",
            miss < TOLERANCE,
            f"at most {miss:.0e} from the point with their Q, from both sides; the drift of Q is at most {drift:.0e}",
        ),
        Finding(
            "one eigenvalue of the Hessian is 0 along the minimum, and Q = 0 is its least sharp point",
            max(map(abs, along["flat"])) < ROUNDING * max(along["sharpness"]) and abs(least) < ROUNDING,
            f"it is at most {max(map(abs, along['flat'])):.0e}, the other is least at Q = {least:.0e}",
        ),
        Finding(
            "the other eigenvalue is 2 √(Q² + 4 Y²) (Eq. 2.53)",
            bool((np.abs(ratio - 1) < ROUNDING).all()),
            f"it is {ratio.min():.3f} to {ratio.max():.3f} times that: the trace of Eq. (2.52) has no factor 2, which "
            "belongs to the loss without 1/2 of Figure 2.1",
        ),
        Finding(
            "it is √(Q² + 4 Y²)",
            bool((np.abs(2 * ratio - 1) < ROUNDING).all()),
            f"relative error at most {np.abs(2 * ratio - 1).max():.0e}",
            "control",
        ),
    ]


def plot(results: dict[str, Any]):
    """The valley with its orbit coloured by Q, the flow in the plane, and the sharpness against Q."""
    figure, axes = canvas(1, 3, width=4.2, height=3.6)
    along = results["valley"]
    _panel_valley(figure, axes[0][0], results)
    _panel_flow(axes[0][1], results)
    axis = axes[0][2]
    axis.plot(along["quantity"], along["sharpness"], color="#4c72b0", linewidth=2, label="measured")
    axis.plot(along["quantity"], along["printed"], "--", color="#c44e52", linewidth=1.2, label="Eq. (2.53)")
    axis.set(xlabel="Q at the minimum", ylabel="largest eigenvalue of the Hessian", title="sharpness")
    axis.set_ylim(0, None)
    legend(axis, loc="lower right")
    return figure


def _grid(results: dict[str, Any], low: float):
    high = 3.4
    u, v = np.meshgrid(np.linspace(low, high, 240), np.linspace(low, high, 240))
    return u, v, (results["target"] - u * v) ** 2 / 2


def _panel_valley(figure, axis, results: dict[str, Any]) -> None:
    """Figure 2.1: the surface, seen from above."""
    u, v, loss = _grid(results, 0.0)
    axis.grid(False)
    axis.contourf(u, v, np.log10(loss + 1e-2), levels=18, cmap="Greys_r", alpha=0.75)
    along = results["valley"]
    points = axis.scatter(along["u"], along["v"], c=along["quantity"], cmap="plasma", s=22, zorder=3)
    figure.colorbar(points, ax=axis, label="Q", shrink=0.85)
    for i in (8, 16, 24, 32):
        ahead = (along["u"][i + 1] - along["u"][i], along["v"][i + 1] - along["v"][i])
        scale = 0.55 / float(np.hypot(*ahead))
        tip = (along["u"][i] + scale * ahead[0] + 0.12, along["v"][i] + scale * ahead[1] + 0.12)
        tail = (along["u"][i] + 0.12, along["v"][i] + 0.12)
        axis.annotate("", tip, tail, arrowprops={"arrowstyle": "->", "color": "#222222", "linewidth": 1.0})
    axis.set(title="the minimum is one orbit", xlabel="U", ylabel="V", xlim=(0, 3.4), ylim=(0, 3.4))


def _panel_flow(axis, results: dict[str, Any]) -> None:
    u, v, loss = _grid(results, -3.4)
    axis.grid(False)
    axis.contour(u, v, loss, levels=[0.25, 1, 2, 4, 8, 16, 32], colors="#bbbbbb", linewidths=0.6)
    from matplotlib import colormaps

    charges = sorted({t["charge"] for t in results["trajectories"]})
    for t in results["trajectories"]:
        shown = colormaps["plasma"](0.92 * charges.index(t["charge"]) / max(len(charges) - 1, 1))
        for sign in (1, -1):
            label = (
                f"Q = {t['charge']:g}" if sign == 1 and t["u"][0] * t["v"][0] < results["target"] else None
            )
            axis.plot(
                sign * np.array(t["u"]), sign * np.array(t["v"]), color=shown, linewidth=1.3, label=label
            )
            axis.plot(sign * t["u"][-1], sign * t["v"][-1], "o", color=shown, markersize=4, zorder=4)
    branch = np.linspace(results["target"] / 3.4, 3.4, 200)
    for sign in (1, -1):
        axis.plot(sign * branch, sign * results["target"] / branch, color="black", linewidth=1.0, zorder=1)
    axis.set(title="gradient flow", xlabel="U", ylabel="V", xlim=(-3.4, 3.4), ylim=(-3.4, 3.4))
    legend(axis, loc="lower right")


@experiment(
    "plane",
    shows="Figures 2.1, 2.6",
    paper="Dissertation, Sections 2.1 and 2.8.1",
    claim="The points of the minimum of a linear network with two weights are related by the scaling symmetry, and "
    "parametrized by its conserved quantity Q; trajectories of gradient flow with different Q meet it at different "
    "points, and Q determines the eigenvalues of the Hessian there.",
    settings=Plane,
    quick={},
    judge=judge,
    plot=plot,
)
def plane(settings: Plane, each: Each) -> dict[str, Any]:
    """All trajectories, and the minimum."""
    cases = [{"charge": q, "product": p} for q in settings.charges for p in settings.products]
    return {
        "trajectories": each(trajectory, cases),
        "valley": each(valley, [{}])[0],
        "target": settings.target,
    }
