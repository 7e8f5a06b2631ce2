"""Figure 2.4: convergence against the conserved quantity, with the scale of the weights told apart from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, logarithmic, outside, shade
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.reproduce.experiments._shared_designs import DESIGNS, SURE, panel_designs, scale_or_quantity
from isoloss.reproduce.experiments._shared_two_layers import (
    HOMOGENEOUS,
    LABELS,
    Point,
    check_activations,
    losses,
    moved,
    normal,
    quantity,
    rank_correlation,
    rounds,
    scalings,
    size,
    stacked,
    steps_to,
    train,
    with_quantity,
)


@dataclass(frozen=True)
class Imbalance(Settings):
    """Dissertation Section 2.7.3; the text does not give the standard deviations."""

    activations: tuple[str, ...] = ("identity", "relu", "tanh", "sigmoid")
    sizes: tuple[int, ...] = (5, 50, 10)
    """Outputs, hidden units, inputs."""
    rate: float = 1e-3
    deviations: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75)
    """Standard deviations of U and of V."""
    base: float = 0.25
    """That of the points which are moved at fixed function."""
    factors: tuple[float, ...] = (0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0)
    """How V is multiplied, and U in turn divided."""
    steps: int = 20_000
    level: float = 0.01
    """Converged is a loss of this share of the target's square."""
    points: int = 120
    """Numbers of steps at which losses are recorded."""
    tuned_rates: int = 9
    """Learning rates of the control, by quarter decades upwards from `rate`."""
    tuned_steps: int = 6_000


def descents(settings: Imbalance, activation: str, seed: int) -> dict[str, Any]:
    """Loss curves from all starts of one draw of the weights."""
    drawn, target = normal(settings.sizes, torch.Generator().manual_seed(seed))
    scaled = {d: {k: d * w for k, w in drawn.items()} for d in settings.deviations}
    base = {k: settings.base * w for k, w in drawn.items()}
    starts = [("published", d, p) for d, p in scaled.items()]
    starts += [("orbit", f, moved(base, activation, f)) for f in settings.factors]
    if activation in HOMOGENEOUS:
        found, q = scalings(settings.sizes), float(quantity(base, activation))
        starts += [("level", d, with_quantity(p, settings.sizes, found, q)) for d, p in scaled.items()]
    points = stacked([p for _, _, p in starts])
    steps = rounds(settings.steps, settings.points)
    _, curves = train(points, target, activation, settings.rate, steps)
    first = float(losses(base, target, activation))
    level = settings.level * float(target.square().sum())
    tuned = fewest(settings, [p for _, _, p in starts], target, activation, level)
    return {
        "steps": [0, *steps],
        "runs": [
            {
                "design": design,
                "value": value,
                "quantity": float(quantity(p, activation)),
                "size": float(size(p)),
                "losses": curve,
                "needed": steps_to(level, steps, curve),
                "tuned": best,
            }
            for (design, value, p), curve, best in zip(starts, curves, tuned, strict=True)
        ],
        # How far the loss at the start of the moved points is from that of the point which they are moved from.
        "moved_loss": max(
            abs(curve[0] / first - 1)
            for (design, *_), curve in zip(starts, curves, strict=True)
            if design == "orbit"
        ),
    }


def fewest(
    settings: Imbalance, starts: Sequence[Point], target: Tensor, activation: str, level: float
) -> list[float | None]:
    """The number of steps to the level from every start, at its own best learning rate."""
    factors = [10 ** (k / 4) for k in range(settings.tuned_rates)]
    points = stacked([p for p in starts for _ in factors])
    steps = rounds(settings.tuned_steps, settings.points)
    each = torch.tensor(factors, dtype=torch.float64).repeat(len(starts))
    _, curves = train(points, target, activation, settings.rate, steps, factors=each)
    needed = [steps_to(level, steps, curve) for curve in curves]
    groups = [needed[i : i + len(factors)] for i in range(0, len(needed), len(factors))]
    return [min((n for n in group if n is not None), default=None) for group in groups]


def judge(results: dict[str, Any]) -> list[Finding]:
    """Q goes with the number of steps; and what becomes of that when the function, or Q itself, is held fixed."""
    found = []
    for activation, seeds in results["descents"].items():
        name = LABELS[activation]
        by = {d: [_chosen(s, d) for s in seeds] for d in DESIGNS}
        found.append(
            _correlated(f"{name}: the number of steps to converge is correlated with Q", by["published"])
        )
        found.append(
            _changed(f"{name}: at the same function, another Q takes other numbers of steps", by["orbit"])
        )
        found.append(
            _correlated(
                f"{name}: at the same function, Q is correlated with the steps", by["orbit"], "control"
            )
        )
        if all(by["level"]):
            found.append(
                _changed(
                    f"{name}: at the same Q, another standard deviation takes other numbers", by["level"]
                )
            )
        found += _finding_tuned(name, by)
        statement = f"{name}: over all starts, the sum of the squared weights tells the steps better than Q"
        found.append(
            scale_or_quantity(statement, [run for d in by for seed in by[d] for run in seed], "needed")
        )
    worst = max(s["moved_loss"] for seeds in results["descents"].values() for s in seeds)
    found.append(
        Finding(
            "moves on the orbit leave the initial loss as it is",
            worst < 1e-9,
            f"relative change at most {worst:.0e}",
            "control",
        )
    )
    return found


def _finding_tuned(name: str, by: dict[str, list[list[dict[str, Any]]]]) -> list[Finding]:
    """The same questions where everybody has the best learning rate for its start."""
    own = f"{name}: each at its own best learning rate,"
    return [
        _correlated(f"{own} the number of steps is correlated with Q", by["published"], "control", "tuned"),
        _changed(f"{own} another Q takes other numbers of steps at the same function", by["orbit"], "tuned"),
    ]


def _chosen(told: dict[str, Any], design: str) -> list[dict[str, Any]]:
    return [run for run in told["runs"] if run["design"] == design]


def _correlated(
    statement: str, seeds: list[list[dict[str, Any]]], kind: Any = "paper", key: str = "needed"
) -> Finding:
    """Over all starts and seeds; one that never converges took longest."""
    runs = [run for seed in seeds for run in seed]
    told = rank_correlation([r["quantity"] for r in runs], [r[key] for r in runs])
    if told["rho"] is None:
        return Finding(statement, None, "all runs took the same", kind)
    evidence = f"rank correlation {told['rho']:.2f}, p {told['p']:.0e}, {len(runs)} runs"
    return Finding(statement, told["p"] < SURE or None, evidence, kind)


def _changed(statement: str, seeds: list[list[dict[str, Any]]], key: str = "needed") -> Finding:
    """The slowest start against the fastest, the same two in all seeds."""
    values = [r["value"] for r in seeds[0]]
    needed = {v: [next(r for r in s if r["value"] == v)[key] for s in seeds] for v in values}
    reached = {v: n for v, n in needed.items() if all(n)}
    if len(reached) < 2:
        return Finding(statement, None, "fewer than two starts converge in all seeds", "control")
    means = {v: sum(n) / len(n) for v, n in reached.items()}
    slow, fast = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    told = compare(reached[slow], reached[fast])
    q = {
        v: sum(next(r for r in s if r["value"] == v)["quantity"] for s in seeds) / len(seeds) for v in values
    }
    evidence = f"{means[slow]:.0f} steps at Q = {q[slow]:.3g}, {means[fast]:.0f} at Q = {q[fast]:.3g}: {told}"
    return Finding(statement, told.higher, evidence, "control")


def plot(results: dict[str, Any]):
    """The curves of the paper, and the numbers of steps against Q in all designs, at one rate and at the best."""
    told = results["descents"]
    figure, axes = canvas(3, len(told), width=3.5, height=2.8)
    for column, (activation, seeds) in enumerate(told.items()):
        _panel_curves(axes[0][column], seeds[0], activation)
        points = {d: [run for s in seeds for run in _chosen(s, d)] for d in DESIGNS}
        panel_designs(axes[1][column], points, "needed")
        panel_designs(axes[2][column], points, "tuned")
    axes[0][0].set_ylabel("loss")
    axes[1][0].set_ylabel("steps, shared learning rate")
    axes[2][0].set_ylabel("steps, each at its best rate")
    outside(axes[0][-1], axes[0][-1])
    outside(axes[1][-1], max(axes[1], key=lambda a: len(a.get_legend_handles_labels()[0])))
    return figure


def _panel_curves(axis, told: dict[str, Any], activation: str) -> None:
    runs = _chosen(told, "published")
    for i, run in enumerate(runs):
        label = f"standard deviation {run['value']:g}"
        axis.plot(told["steps"][1:], run["losses"][1:], color=shade(i, len(runs)), linewidth=1.4, label=label)
    logarithmic(axis, x=True, y=True)
    axis.set_ylim(1e-4, None)
    axis.set(title=LABELS[activation], xlabel="step")


@experiment(
    "imbalance",
    shows="Figure 2.4",
    paper="Dissertation, Section 2.7.3",
    claim="The number of steps required for the loss curves to drop to near convergence level is correlated with Q in "
    "both linear and elementwise nonlinear networks: the value of Q affects the convergence rate.",
    settings=Imbalance,
    quick={"seeds": 3, "steps": 6_000, "tuned_steps": 1_000},
    judge=judge,
    plot=plot,
)
def imbalance(settings: Imbalance, each: Each) -> dict[str, Any]:
    """All activations and seeds."""
    check_activations(settings.activations)
    cases = [{"activation": a, "seed": s} for a in settings.activations for s in range(settings.seeds)]
    told: dict[str, Any] = {a: [] for a in settings.activations}
    for case, run in zip(cases, each(descents, cases), strict=True):
        told[case["activation"]].append(run)
    return {"descents": told, "level": settings.level}
