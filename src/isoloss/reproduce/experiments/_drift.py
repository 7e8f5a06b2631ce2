"""Figure A.1: the drift of conserved quantities in gradient descent, against the bound on it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss import flow
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, curve, logarithmic, outside
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_two_layers import (
    HOMOGENEOUS,
    LABELS,
    U,
    check_activations,
    elementwise,
    losses,
    normal,
    rounds,
    scalings,
    size,
    stacked,
)

SMALL = 0.05
"""A change of Q, relative to the terms that it is the difference of, that counts as small."""

SAME = 3.0
"""Drifts within this factor have the same magnitude."""

EPS = torch.finfo(torch.float64).eps

ROUNDINGS = 1e3
"""Errors of so many roundings are none: Q sums the squares of 750 weights, each of which is rounded."""


@dataclass(frozen=True)
class Drift(Settings):
    """Dissertation Appendix A.4.2; the text gives no standard deviations.

    The loss is the mean of the squares, not their sum as in Eq. (A.30): of the sum, the Hessian in U alone has an
    eigenvalue of about 250 for sigmoids (fifty units near 1/2, ten samples): the two larger rates are unstable.
    """

    activations: tuple[str, ...] = ("identity", "relu", "tanh", "sigmoid")
    sizes: tuple[int, ...] = (5, 50, 10)
    """Outputs, hidden units, inputs."""
    rates: tuple[float, ...] = (0.1, 0.01, 0.001)
    deviation: float = 1.0
    """Of U, V and Y."""
    steps: int = 20_000
    points: int = 60
    """Numbers of steps at which the drift and its bound are recorded."""


def drifting(settings: Drift, activation: str, rate: float) -> dict[str, Any]:
    """Loss and drift along a descent from every seed; and the change in single steps, with the bound on it."""
    draws = [normal(settings.sizes, torch.Generator().manual_seed(s)) for s in range(settings.seeds)]
    here = stacked([{k: settings.deviation * w for k, w in drawn.items()} for drawn, _ in draws])
    target = settings.deviation * torch.stack([y for _, y in draws])

    def loss(p: dict[str, Tensor]) -> Tensor:
        return losses(p, target, activation).sum() / target[0].numel()

    known = _quantities(settings) if activation in HOMOGENEOUS else None
    magnitude = _magnitude(here, activation)
    first = elementwise(here, activation).abs() / magnitude
    rows: dict[str, list[Tensor]] = {"loss": [], "drift": [], "change": [], "bound": []}
    worst = {"error": 0.0, "excess": 0.0}
    steps, done = [0, *rounds(settings.steps, settings.points)], 0
    for at in steps:
        if at > done:
            here = flow.gradient_descent(loss, here, rate, at - done, every=at - done)[-1]
            done = at
        step = flow.gradient_descent(loss, here, rate, 1)
        gradients = {k: -v[0] for k, v in step.velocities.items()}
        # Proposition A.4.1 is about Tr[U^T U - V V^T], which is twice the quantity of Eq. (2.17).
        change = 2 * (elementwise(step[1], activation) - elementwise(step[0], activation))
        rows["loss"].append(losses(here, target, activation) / target[0].numel())
        rows["drift"].append((elementwise(here, activation).abs() / magnitude - first).abs())
        rows["change"].append(change.abs())
        rows["bound"].append(rate**2 * size(gradients))
        if known is not None:
            for i in range(settings.seeds):
                before, after, g = ({k: t[i] for k, t in p.items()} for p in (step[0], step[1], gradients))
                _compare(known, before, after, g, rate, worst)
    told: dict[str, Any] = {k: torch.stack(v, 1).tolist() for k, v in rows.items()}
    return {"steps": steps} | told | ({} if known is None else worst)


def _quantities(settings: Drift) -> flow.ConservedQuantities:
    """Those of the scalings, which both homogeneous networks have."""
    return flow.conserved_quantities(scalings(settings.sizes))


def _compare(
    known: flow.ConservedQuantities,
    here: dict[str, Tensor],
    there: dict[str, Tensor],
    gradients: dict[str, Tensor],
    rate: float,
    worst: dict[str, float],
) -> None:
    """The change of every neuron's quantity against the equation for it, and its sum against the bound.

    Errors are relative to the rounding of the sums of squares that the quantities are differences of.
    """
    before, after = known.measured(here), known.measured(there)
    for name, told in flow.drift_bound(known, gradients, rate).items():
        change, rounding = after[name][0] - before[name][0], EPS * float(before[name][1])
        worst["error"] = max(worst["error"], float((change - told.change).abs().sum()) / rounding)
        worst["excess"] = max(worst["excess"], (float(change.abs().sum()) - told.bound) / rounding)


def _magnitude(points: dict[str, Tensor], activation: str) -> Tensor:
    """The sum of both terms of Q, each without its sign: the denominator of Eq. (A.29)."""
    half = points[U].square().sum((-2, -1)) / 2
    return half + (half - elementwise(points, activation)).abs()


def judge(results: dict[str, Any]) -> list[Finding]:
    """Small, of first order in the rate, done when the loss is; and the bound on single steps."""
    found = []
    for activation, by_rate in results["descents"].items():
        name = LABELS[activation]
        largest = {r: [max(drift) for drift in told["drift"]] for r, told in by_rate.items()}
        every = [v for values in largest.values() for v in values]
        found.append(
            Finding(
                f"{name}: the change of Q is small relative to its magnitude",
                max(every) < SMALL,
                f"at most {max(every):.1e}",
            )
        )
        found.append(_finding_rates(name, largest))
        found.append(_finding_rest(name, by_rate))
    if linear := results["descents"].get("identity"):
        found.append(_finding_bound(linear))
    known = [of for by_rate in results["descents"].values() for of in by_rate.values() if "error" in of]
    if known:
        error, excess = max(r["error"] for r in known), max(r["excess"] for r in known)
        found.append(
            Finding(
                "with linear units and ReLU each neuron's Q changes by the square of the rate times Q of the gradient",
                error < ROUNDINGS and excess < ROUNDINGS,
                f"to {error:.0f} roundings of the sums in Q; the sum over the neurons is below the bound",
                "control",
            )
        )
    return found


def _finding_rates(name: str, largest: dict[str, list[float]]) -> Finding:
    """The paper: larger at the largest rate, of the same magnitude at all."""
    means = {float(r): sum(v) / len(v) for r, v in largest.items()}
    high, low = means[max(means)], means[min(means)]
    told = ", ".join(f"{m:.1e} at {r:g}" for r, m in sorted(means.items(), reverse=True))
    return Finding(
        f"{name}: the change is larger at the largest rate, but of the same magnitude",
        bool(low < high <= SAME * low),
        f"{told}: it falls with the rate, {high / max(low, 1e-300):.0f} times over {max(means) / min(means):.0f} times",
    )


def _finding_rest(name: str, by_rate: dict[str, dict[str, Any]]) -> Finding:
    """From where the loss is a millionth of what can be gained, Q may change by a hundredth of its whole change."""
    shares, missing = [], 0
    for told in by_rate.values():
        for loss, drift in zip(told["loss"], told["drift"], strict=True):
            done = next(i for i, v in enumerate(loss) if v - loss[-1] <= 1e-6 * (loss[0] - loss[-1]))
            if done + 5 > len(loss):
                missing += 1
            else:
                shares.append(abs(drift[-1] - drift[done]) / max(*drift, 1e-300))
    holds = max(shares) < 0.01 if shares else None
    evidence = f"then by at most {max(shares):.0e} of the whole change" if shares else "no loss has converged"
    return Finding(
        f"{name}: Q stays constant after the loss converges",
        holds,
        evidence + (f"; {missing} descents have not converged" if missing and shares else ""),
    )


def _finding_bound(by_rate: dict[str, dict[str, Any]]) -> Finding:
    """Within the rounding of Q itself, which is the difference of sums of some units."""
    pairs = [
        pair
        for told in by_rate.values()
        for change, bound in zip(told["change"], told["bound"], strict=True)
        for pair in zip(change, bound, strict=True)
    ]
    above = sum(c > b + 1e-12 for c, b in pairs)
    shares = sorted(c / b for c, b in pairs if b > 1e-12)
    middle = shares[len(shares) // 2] if shares else 0.0
    return Finding(
        "linear: a step changes Tr[U^T U - V V^T] by no more than Proposition A.4.1 allows",
        not above,
        f"in {len(pairs) - above} of {len(pairs)} steps; the median step takes {middle:.2f} of what is allowed",
    )


def plot(results: dict[str, Any]):
    """Drift above, loss below, a column per activation."""
    told = results["descents"]
    figure, axes = canvas(2, len(told), width=3.4, height=2.7)
    for column, (activation, by_rate) in enumerate(told.items()):
        for i, (rate, of) in enumerate(by_rate.items()):
            for row, key in ((0, "drift"), (1, "loss")):
                curve(axes[row][column], of["steps"][1:], [v[1:] for v in of[key]], f"rate {rate}", i)
        for row in range(2):
            logarithmic(axes[row][column], x=True, y=True)
        axes[0][column].set_title(LABELS[activation])
        axes[0][column].set_ylim(1e-9, 1e-1)
        axes[1][column].set_ylim(1e-12, None)
        axes[1][column].set_xlabel("step")
    axes[0][0].set_ylabel("change of Q, relative")
    axes[1][0].set_ylabel("loss")
    outside(axes[0][-1], axes[0][-1])
    return figure


@experiment(
    "drift",
    shows="Figure A.1",
    paper="Dissertation, Appendix A.4",
    claim="In gradient descent the change in Q is small relative to its magnitude, larger with the largest learning "
    "rate although of the same magnitude as with the smaller ones, and Q stays constant after the loss converges. In "
    "two linear layers a step changes Q by at most the square of the rate times |dL/dt| (Proposition A.4.1).",
    settings=Drift,
    quick={"seeds": 2, "steps": 8_000},
    judge=judge,
    plot=plot,
)
def drift(settings: Drift, each: Each) -> dict[str, Any]:
    """All activations, rates and seeds."""
    check_activations(settings.activations)
    cases = [{"activation": a, "rate": r} for a in settings.activations for r in settings.rates]
    told: dict[str, Any] = {a: {} for a in settings.activations}
    for case, run in zip(cases, each(drifting, cases), strict=True):
        told[case["activation"]][f"{case['rate']:g}"] = run
    return {"descents": told}
