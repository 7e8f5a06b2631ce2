"""Figure 2.5: a radial network converges as fast as its conserved quantity is small, and so with the learning rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from isoloss import flow
from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, curve, legend, logarithmic, shade
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_two_layers import rounds

RELATIVE = 1e-10
"""The integrator's tolerance of a step, of which it takes about a thousand where Q is small."""

TOLERANCE = 1e3 * RELATIVE
"""Of what holds along the flow."""


@dataclass(frozen=True)
class Radial(Settings):
    """Dissertation Section 2.7.3; the text gives neither the values of Q nor the scale of the target."""

    sizes: tuple[int, ...] = (5, 5, 10)
    """Rows of U, columns of U and V, rows of V."""
    charges: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    """Values of Q = Tr[U^T U + V^T V]."""
    rate: float = 1e-5
    steps: int = 3_000
    points: int = 60
    """Numbers of steps at which losses are recorded, and points of the flow."""


def start(settings: Radial, charge: float, seed: int) -> tuple[flow.RadialFactorization, dict[str, Tensor]]:
    """A target with entries of variance 1 / n, and a spectral start whose diagonals are scaled to the charge."""
    m, h, n = settings.sizes
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(m, n, generator=generator).double() / n**0.5
    u, v = (0.5 + torch.rand(2, h, generator=generator)).double()
    scale = (charge / (u.square().sum() + v.square().sum())).sqrt()
    problem = flow.RadialFactorization(target)
    return problem, problem.start(scale * u, scale * v)


def descent(settings: Radial, charge: float, rate: float, seed: int) -> dict[str, Any]:
    """The loss curve of gradient descent."""
    problem, here = start(settings, charge, seed)
    steps, done = rounds(settings.steps, settings.points), 0
    told = [float(problem.loss(here))]
    for until in steps:
        path = flow.gradient_descent(problem.loss, here, rate, until - done, every=until - done)
        here, done = path[-1], until
        told.append(float(path.losses[-1]))
    return {"steps": [0, *steps], "losses": told}


def along_flow(settings: Radial, charge: float, seed: int) -> dict[str, Any]:
    """How well Propositions 2.7.2 and 2.7.3 describe the flow, over the time of the descent."""
    problem, here = start(settings, charge, seed)
    t = torch.linspace(0, settings.rate * settings.steps, settings.points, dtype=torch.float64)
    # Where Q is small the singular values have long arrived, and the flow is stiff.
    path = flow.gradient_flow(problem.loss, here, t, method="LSODA", rtol=RELATIVE, atol=RELATIVE / 100)
    conserved = problem.conserved(path[0])
    first, target = problem.singular_values(path[0])
    # At the end of the flow the velocities themselves are rounding.
    fastest = float(flow.convergence_rate(first, target, conserved).abs().max())
    error = excess = drift = 0.0
    turned, above = 0, 0
    for k in range(len(path)):
        velocity = {name: v[k] for name, v in path.velocities.items()}
        value, speed, *_ = jvp(lambda p: problem.singular_values(p)[0], (path[k],), (velocity,))
        predicted = flow.convergence_rate(value, target, conserved)
        error = max(error, float((speed - predicted).abs().max()) / fastest)
        bound = flow.convergence_bound(first, target, conserved, float(t[k]))
        excess = max(excess, float(((value - target).abs() - bound).max() / (first - target).abs().max()))
        drift = max(drift, float((problem.conserved(path[k]) / conserved - 1).abs().max()))
        fails = predicted < (target - value) / conserved - RELATIVE * fastest  # Eq. (2.46)
        turned += int(fails.sum())
        above += int((fails & (value > target)).sum())
    return {
        "error": error,
        "excess": excess,
        "drift": drift,
        "turned": turned,
        "above": above,
        "points": len(path) * len(target),
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """Smaller Q, lower loss; the propositions along the flow; and the rate of which Q is the inverse."""
    curves, flows = results["descents"], [f for of in results["flows"].values() for f in of]
    ends = {c: [run["losses"][-1] for run in runs] for c, runs in curves.items()}
    names = list(ends)
    told = [compare(ends[a], ends[b]) for a, b in zip(names, names[1:], strict=False)]
    states = [c.lower for c in told]
    worst = {k: max(f[k] for f in flows) for k in ("error", "excess", "drift")}
    turned, above, points = (sum(f[k] for f in flows) for k in ("turned", "above", "points"))
    found = [
        Finding(
            "smaller Q at initialization leads to faster convergence",
            all(states) if None not in states else None,
            "; ".join(
                f"Q = {a} ends {c}, against Q = {b}" for a, b, c in zip(names, names[1:], told, strict=False)
            ),
        ),
        Finding(
            "the singular values move as Proposition 2.7.2 says, and the λ stay",
            worst["error"] < TOLERANCE and worst["drift"] < TOLERANCE,
            f"error at most {worst['error']:.0e} of the first velocity, drift of λ {worst['drift']:.0e}",
        ),
        Finding(
            "they stay within the bound of Proposition 2.7.3",
            worst["excess"] < TOLERANCE,
            f"beyond it by at most {max(worst['excess'], 0):.0e} of the initial distance",
        ),
        Finding(
            "their velocity is at least that of exponential decay (Eq. 2.46)",
            turned == 0,
            f"not at {turned} of {points} points of the flow, {above} of them with a singular value above its target, "
            "where the inequality turns round and the distance still shrinks faster",
        ),
    ]
    return [*found, *_finding_controls(results)]


def _finding_controls(results: dict[str, Any]) -> list[Finding]:
    curves, scaled = results["descents"], results["scaled"]
    reference, *others = curves.values()
    starts = [
        abs(run["losses"][0] / ref["losses"][0] - 1)
        for of in others
        for run, ref in zip(of, reference, strict=True)
    ]
    gaps = [
        abs(a - b) / ref["losses"][0]
        for of in scaled.values()
        for run, ref in zip(of, reference, strict=True)
        for a, b in zip(run["losses"], ref["losses"], strict=True)
    ]
    return [
        Finding(
            "the starts compute the same function: scaling U and V alike is a symmetry, and Q its quantity",
            max(starts) < 1e-10,
            f"relative difference of the initial losses at most {max(starts):.0e}",
            "control",
        ),
        Finding(
            "at learning rates in proportion to Q, smaller Q converges faster",
            max(gaps) > 1e-6,
            f"the curves differ by at most {max(gaps):.0e} of the initial loss: Q divides the learning rate, no more",
            "control",
        ),
    ]


def plot(results: dict[str, Any]):
    """Curves at the shared rate, and at rates in proportion to Q."""
    figure, axes = canvas(1, 2)
    panels = (
        (results["descents"], f"learning rate {results['rate']:g}"),
        (results["scaled"], "learning rate in proportion to Q"),
    )
    for axis, (told, title) in zip(axes[0], panels, strict=True):
        for i, (charge, runs) in enumerate(told.items()):
            losses = [r["losses"][1:] for r in runs]
            style: dict[str, Any] = {"color": shade(i, len(told))}
            if told is results["scaled"]:  # these lie on one another
                losses, style = [np.median(losses, 0).tolist()], style | {"linewidth": 6.0 - 1.6 * i}
            curve(axis, runs[0]["steps"][1:], losses, f"Q = {charge}", i, **style)
        logarithmic(axis, x=True, y=True)
        axis.set(xlabel="step", ylabel="loss", title=title, ylim=(1e-8, 5.0))
        legend(axis, loc="lower left")
    return figure


@experiment(
    "radial",
    shows="Figure 2.5",
    paper="Dissertation, Section 2.7.3, Propositions 2.7.2 and 2.7.3",
    claim="In a two-layer network with a radial activation, a smaller value of Q = Tr[U^T U + V^T V] at initialization "
    "leads to faster convergence.",
    settings=Radial,
    quick={"seeds": 3},
    judge=judge,
    plot=plot,
)
def radial(settings: Radial, each: Each) -> dict[str, Any]:
    """Descents at the shared and at proportional rates, and the flow."""
    pairs = [(c, s) for c in settings.charges for s in range(settings.seeds)]
    shared = [{"charge": c, "rate": settings.rate, "seed": s} for c, s in pairs]
    scaled = [{"charge": c, "rate": settings.rate * c / settings.charges[0], "seed": s} for c, s in pairs]
    flows = [{"charge": c, "seed": s} for c, s in pairs]
    runs = each(descent, shared + scaled)
    told: dict[str, Any] = {"descents": {}, "scaled": {}, "flows": {}, "rate": settings.rate}
    for key, found in (
        ("descents", runs[: len(pairs)]),
        ("scaled", runs[len(pairs) :]),
        ("flows", each(along_flow, flows)),
    ):
        for (charge, _), run in zip(pairs, found, strict=True):
            told[key].setdefault(f"{charge:g}", []).append(run)
    return told
