"""Figure 2.7: eigenvalues of the Hessian at minima, against the conserved quantity, and at fixed function."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss import find, landscape
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
    members,
    moved,
    network,
    normal,
    quantity,
    rank_correlation,
    scalings,
    size,
    stacked,
    train,
    with_quantity,
)


@dataclass(frozen=True)
class Eigenvalues(Settings):
    """Dissertation Section 2.8.2; the text does not give the standard deviations."""

    activations: tuple[str, ...] = ("identity", "relu", "tanh", "sigmoid")
    sizes: tuple[int, ...] = (10, 50, 5)
    """Outputs, hidden units, inputs."""
    rate: float = 1e-3
    deviations: tuple[float, ...] = (0.001, 0.25, 0.5, 0.75)
    """Standard deviations of U and of V."""
    base: float = 0.25
    """That whose minima are moved at fixed function."""
    factors: tuple[float, ...] = (0.25, 0.5, 0.71, 1.41, 2.0, 4.0)
    """How V is multiplied, and U in turn divided."""
    steps: int = 20_000
    zero: float = 1e-3
    """The largest modulus of an eigenvalue around 0."""
    converged: float = 1e-4
    """A minimum has at most this share of the target's square for a loss; other points do not count."""


def minima(settings: Eigenvalues, activation: str, seed: int) -> dict[str, Any]:
    """Eigenvalues at the minima that one draw of the weights leads to."""
    drawn, target = normal(settings.sizes, torch.Generator().manual_seed(seed))
    deviations = [*settings.deviations, settings.base]
    starts = [{k: d * w for k, w in drawn.items()} for d in deviations]
    ends, _ = train(stacked(starts), target, activation, settings.rate, [settings.steps])
    *trained, base = members(ends)
    points = [("published", d, p) for d, p in zip(settings.deviations, trained, strict=True)]
    points += [("orbit", f, moved(base, activation, f)) for f in (1.0, *settings.factors)]
    if activation in HOMOGENEOUS:
        found, level = scalings(settings.sizes), float(quantity(base, activation))
        points += [
            ("level", d, with_quantity(p, settings.sizes, found, level))
            for d, p in zip(settings.deviations, trained, strict=True)
        ]
    first = float(losses(base, target, activation))
    return {
        "minima": [
            {
                "design": design,
                "value": value,
                "quantity": float(quantity(p, activation)),
                "size": float(size(p)),
                "loss": (loss := float(losses(p, target, activation))),
                "converged": loss <= settings.converged * float(target.square().sum()),
            }
            | around(settings, p, target, activation)
            for design, value, p in points
        ],
        "moved_loss": max(
            abs(float(losses(p, target, activation)) - first) for d, _, p in points if d == "orbit"
        ),
        "explained": explained(settings, base, target, activation),
    }


def around(settings: Eigenvalues, point: Point, target: Tensor, activation: str) -> dict[str, Any]:
    """Those of the Hessian that are not around 0, and the number of those that are."""
    model, loss = network(settings.sizes, activation), _loss(settings, target)
    told = landscape.spectrum(model, lambda: loss(model), at=point)
    rest = told.nonzero(settings.zero)
    return {
        "zeros": told.zeros(settings.zero),
        "eigenvalues": rest.tolist(),
        "mean": float(rest.mean()) if len(rest) else 0.0,
        "gradient": told.gradient_norm,
    }


def explained(settings: Eigenvalues, point: Point, target: Tensor, activation: str) -> dict[str, int]:
    """How many zeros the continuous symmetries of the network explain."""
    model, loss = network(settings.sizes, activation), _loss(settings, target)
    symmetries = find(model, torch.eye(settings.sizes[2]).double()).where(lambda s: s.dim > 0)
    if not len(symmetries):
        return {"explained": 0, "orbit": 0}
    told = landscape.flat_directions(
        model, lambda: loss(model), symmetries, at=point, critical=False, tolerance=settings.zero
    )
    return {"explained": told.explained, "orbit": told.orbit_dimension}


def _loss(settings: Eigenvalues, target: Tensor):
    x, y = torch.eye(settings.sizes[2]).double(), target.mT
    return lambda model: (model(x) - y).square().sum()


def judge(results: dict[str, Any]) -> list[Finding]:
    """The number of zeros, the centers of the others against Q, and the same with function or Q held fixed."""
    found = []
    m, h, n = results["sizes"]
    for activation, seeds in results["minima"].items():
        name = LABELS[activation]
        by = {d: [_chosen(s, d) for s in seeds] for d in DESIGNS}
        if activation == "identity":
            found.append(_finding_zeros(name, by["published"], h * (m + n) - m * n))
            found.append(_finding_trace(name, [p for of in by.values() for s in of for p in s], m, n))
        found.append(_finding_center(activation, by["published"]))
        found.append(_finding_explained(name, seeds, by["published"]))
        found.append(
            _finding_moved(f"{name}: at the same function, another Q has other eigenvalues", by["orbit"])
        )
        found.append(_finding_center(activation, by["orbit"], "control"))
        if any(by["level"]):
            found.append(
                _finding_moved(
                    f"{name}: at the same Q, another standard deviation has other eigenvalues", by["level"]
                )
            )
        statement = f"{name}: over all minima, the sum of the squared weights tells the mean better than Q"
        found.append(scale_or_quantity(statement, [p for d in by for seed in by[d] for p in seed], "mean"))
    return found


def _chosen(told: dict[str, Any], design: str) -> list[dict[str, Any]]:
    return [p for p in told["minima"] if p["design"] == design and p["converged"]]


def _finding_zeros(name: str, seeds: list[list[dict[str, Any]]], expected: int) -> Finding:
    zeros = sorted({p["zeros"] for s in seeds for p in s}) or [0]
    return Finding(
        f"{name}: {expected} eigenvalues are around 0, the dimension of the minimum",
        zeros == [expected],
        f"{zeros[0]} to {zeros[-1]} in {sum(map(len, seeds))} minima",
    )


def _finding_trace(name: str, points: list[dict[str, Any]], m: int, n: int) -> Finding:
    """Where the residual is zero, from the trace of the Jacobian's square: n |U|^2 + m |V|^2, over m n eigenvalues."""
    off = [0.0]
    for p in points:
        u, v = p["size"] / 2 + p["quantity"], p["size"] / 2 - p["quantity"]
        off.append(abs(p["mean"] / (2 * u / m + 2 * v / n) - 1))
    return Finding(
        f"{name}: at zero loss the mean of the others is 2 |U|²/m + 2 |V|²/n",
        max(off) < 1e-6 if points else None,
        f"relative error at most {max(off):.0e} in {len(points)} minima",
        "control",
    )


def _finding_center(activation: str, seeds: list[list[dict[str, Any]]], kind: Any = "paper") -> Finding:
    """The paper says "positively" of the linear network, of the others that there is a relation."""
    points = [p for s in seeds for p in s]
    told = rank_correlation([p["quantity"] for p in points], [p["mean"] for p in points])
    where = "at the same function, " if kind == "control" else ""
    how = "positively correlated" if activation == "identity" else "correlated"
    statement = f"{LABELS[activation]}: {where}the mean of the eigenvalues not around 0 is {how} with Q"
    if told["rho"] is None:
        return Finding(statement, None, "all are the same", kind)
    sure = told["p"] < SURE
    positive = told["rho"] > 0 or activation != "identity"
    holds = positive if sure else None
    return Finding(
        statement, holds, f"rank correlation {told['rho']:.2f}, p {told['p']:.0e}, {len(points)} minima", kind
    )


def _finding_explained(
    name: str, seeds: list[dict[str, Any]], published: list[list[dict[str, Any]]]
) -> Finding:
    explained = [s["explained"]["explained"] for s in seeds]
    zeros = [p["zeros"] for s in published for p in s] or [0]
    return Finding(
        f"{name}: the symmetries explain the eigenvalues around 0",
        min(explained) >= max(zeros),
        f"{min(explained)} explained of {min(zeros)} to {max(zeros)}",
        "control",
    )


def _finding_moved(statement: str, seeds: list[list[dict[str, Any]]]) -> Finding:
    """The largest mean eigenvalue against the smallest, the same two points in all seeds."""
    values = [v for v in {p["value"]: 0 for s in seeds for p in s} if all(_with(s, v) for s in seeds)]
    if len(values) < 2:
        return Finding(statement, None, "fewer than two converge in all seeds", "control")
    means = {v: [_with(s, v)[0] for s in seeds] for v in values}
    center = {v: sum(p["mean"] for p in of) for v, of in means.items()}
    top, low = max(center, key=center.__getitem__), min(center, key=center.__getitem__)
    told = compare([p["mean"] for p in means[top]], [p["mean"] for p in means[low]])
    evidence = "mean {:.3g} at Q = {:.3g}, {:.3g} at Q = {:.3g}: ".format(
        *(sum(p[k] for p in means[v]) / len(seeds) for v in (top, low) for k in ("mean", "quantity"))
    )
    return Finding(statement, told.higher, evidence + str(told), "control")


def _with(points: list[dict[str, Any]], value: float) -> list[dict[str, Any]]:
    return [p for p in points if p["value"] == value]


def plot(results: dict[str, Any]):
    """Above the distribution of the eigenvalues, below their mean against Q in all designs."""
    told = results["minima"]
    figure, axes = canvas(2, len(told), width=3.5, height=3.0)
    for column, (activation, seeds) in enumerate(told.items()):
        _panel_distribution(axes[0][column], seeds[0], LABELS[activation])
        points = {d: [p for s in seeds for p in _chosen(s, d)] for d in DESIGNS}
        panel_designs(axes[1][column], points, "mean")
    axes[0][0].set_ylabel("share of the eigenvalues not around 0")
    axes[1][0].set_ylabel("mean of the eigenvalues not around 0")
    outside(axes[0][-1], axes[0][-1])
    outside(axes[1][-1], max(axes[1], key=lambda a: len(a.get_legend_handles_labels()[0])))
    return figure


def _panel_distribution(axis, told: dict[str, Any], title: str) -> None:
    points = _chosen(told, "published")
    for i, p in enumerate(points):
        values = sorted(p["eigenvalues"])
        shares = [(k + 1) / len(values) for k in range(len(values))]
        label = f"standard deviation {p['value']:g}"
        axis.step(values, shares, where="post", color=shade(i, len(points)), linewidth=1.4, label=label)
    logarithmic(axis, x=True)
    axis.set(title=title, xlabel="eigenvalue", ylim=(0, 1))


@experiment(
    "eigenvalues",
    shows="Figure 2.7",
    paper="Dissertation, Section 2.8.2",
    claim="Of the 750 eigenvalues of the Hessian of the trained linear network, 700 are around 0, which is the "
    "dimension of the minimum. The center of the others is positively correlated with Q; in networks with nonlinear "
    "activations Q is still related to the eigenvalues.",
    settings=Eigenvalues,
    quick={"seeds": 2},
    judge=judge,
    plot=plot,
)
def eigenvalues(settings: Eigenvalues, each: Each) -> dict[str, Any]:
    """All activations and seeds."""
    check_activations(settings.activations)
    cases = [{"activation": a, "seed": s} for a in settings.activations for s in range(settings.seeds)]
    told: dict[str, Any] = {a: [] for a in settings.activations}
    for case, run in zip(cases, each(minima, cases), strict=True):
        told[case["activation"]].append(run)
    return {"minima": told, "sizes": settings.sizes}
