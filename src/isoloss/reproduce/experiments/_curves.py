"""Figure 3.3: the map of Eq. (3.6) changes outputs by no more than their norm; the loss on the curves it induces."""

from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss.connect import Line, Path, orbit_curve, profile
from isoloss.dependent import ACTIVATIONS, Difference, Two, act, change_bound
from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, curve, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._network import SLOPE
from isoloss.reproduce._runs import Each
from isoloss.teleport.curves import LayerPair

PATHS = ("curve", "difference", "line")
"""The curve of Eqs. (3.5) and (3.6), that of the form that does nothing at the identity, the line between its ends."""

EXACT = 1e-6
"""What a float64 computation may change a norm by, relative: pseudo-inverses of condition numbers up to 1e8."""


@dataclass(frozen=True)
class Curves(Settings):
    """Dissertation Section 3.4.1. How networks train and how large the elements are is not given."""

    networks: int = 100
    least: int = 2
    most: int = 100
    """Of the dimensions of the networks of (a), drawn at random."""
    steps: int = 300
    rate: float = 0.05
    """Of gradient descent on the mean square, in (a)."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Of the networks of (b) and (c): inputs, hidden units, outputs."""
    batches: tuple[int, ...] = (8, 64)
    """Samples in (b) and (c): the paper's number, which is below the hidden width, and one above it."""
    sizes: tuple[float, ...] = (0.5, 2.0)
    """Of the elements of (b) and of (c): exp(size M), M Gaussian with entries of variance 1 / width."""
    curves: int = 5
    curve_steps: int = 2000
    curve_rate: float = 0.3
    """Of gradient descent with momentum 0.9 on the mean square, in (b) and (c)."""
    points: int = 41


def network(settings: Curves, seed: int) -> dict[str, Any]:
    """One network of (a): its outputs, and what a random element and a random layer change in them."""
    s, generator = settings, torch.Generator().manual_seed(seed)
    m, h, n, k = torch.randint(s.least, s.most + 1, (4,), generator=generator).tolist()

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x, y = draw(n, k), draw(m, k)
    start, (u, v) = _trained(draw(m, h) / h**0.5, draw(h, n) / n**0.5, x, y, torch.sigmoid, s.steps, s.rate)
    sigmoid, outputs = ACTIVATIONS[nn.Sigmoid](nn.Sigmoid(), 30.0), u @ torch.sigmoid(v @ x)

    def change(element: Tensor, incoming: Tensor) -> float:
        moved, outgoing = act(Two(), element, incoming, u, x, sigmoid)
        return float((outputs - outgoing @ torch.sigmoid(moved @ x)).norm())

    g = draw(h, h)
    # U' fits the outputs by the units of V'; is it the group that bounds the change, or any V' at all?
    fresh = torch.sigmoid(draw(h, n) @ x)
    refitted = outputs @ torch.linalg.pinv(fresh) @ fresh
    return {
        "dimensions": [m, h, n, k],
        "norm": float(change_bound(u, torch.sigmoid(v @ x))),
        "change": change(g, v),
        "refitted": float((outputs - refitted).norm()),
        "descent": float((y - outputs).square().sum() / start),
    }


def _trained(
    u: Tensor, v: Tensor, x: Tensor, y: Tensor, activation, steps: int, rate: float, momentum: float = 0.0
) -> tuple[float, tuple[Tensor, Tensor]]:
    """The first loss, and the weights after gradient descent on the mean square."""
    weights = [w.clone().requires_grad_() for w in (u, v)]
    optimizer = torch.optim.SGD(weights, lr=rate, momentum=momentum)
    first = 0.0
    for i in range(steps):
        optimizer.zero_grad()
        loss = (weights[0] @ activation(weights[1] @ x) - y).square().sum()
        first = first if i else float(loss.detach())
        (loss / y.numel()).backward()
        optimizer.step()
    u, v = (w.detach() for w in weights)
    return first, (u, v)


def paths(settings: Curves, batch: int, size: float, seed: int) -> dict[str, Any]:
    """The losses on random curves from one minimum, on the lines between their ends, and off the batch."""
    s, generator = settings, torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    inputs, hidden, outputs = s.widths
    x, y, other = draw(inputs, batch), draw(outputs, batch), draw(inputs, 256)
    leaky = nn.LeakyReLU(SLOPE)
    scaled = draw(outputs, hidden) / hidden**0.5, draw(hidden, inputs) / inputs**0.5
    _, (u, v) = _trained(*scaled, x, y, leaky, s.curve_steps, s.curve_rate, momentum=0.9)
    model = nn.Sequential(
        nn.Linear(inputs, hidden, bias=False, dtype=torch.float64),
        leaky,
        nn.Linear(hidden, outputs, bias=False, dtype=torch.float64),
    )
    point = {"0.weight": v, "2.weight": u}
    model.load_state_dict(point)
    pair = LayerPair(model, x.mT, "0", "2", leaky)

    def loss(at: dict[str, Tensor]) -> Tensor:
        return (functional_call(model, at, (x.mT,)) - y.mT).square().sum().sqrt()

    def apart(at: dict[str, Tensor]) -> Tensor:
        return (functional_call(model, at, (other.mT,)) - before).norm() / before.norm()

    told: dict[str, Any] = {"start": float(loss(point)), "norm": float(change_bound(u, leaky(v @ x)))}
    with torch.no_grad():
        before = model(other.mT)
        for _ in range(s.curves):
            g = torch.linalg.matrix_exp(size * draw(hidden, hidden) / hidden**0.5)
            along: dict[str, Path] = {
                "curve": orbit_curve(point, [pair], [g], action=Two()),
                "difference": orbit_curve(point, [pair], [g], action=Difference()),
            }
            along["line"] = line = Line.between(along["curve"](0.0), along["curve"](1.0))
            ends = (line.start[n] - line.end[n] for n in point)
            told.setdefault("distance", []).append(float(torch.cat([e.flatten() for e in ends]).norm()))
            for name, path in along.items():
                told.setdefault(name, []).append(profile(path, loss, s.points).losses.tolist())
                told.setdefault(f"{name}, other data", []).append(
                    profile(path, apart, s.points).losses.tolist()
                )
    told["t"] = torch.linspace(0, 1, s.points, dtype=torch.float64).tolist()
    return told


def judge(results: dict[str, Any]) -> list[Finding]:
    """The inequality; the curve below the line; larger elements; and what the batch size has to do with it."""
    networks, panels = results["networks"], results["panels"]
    wide = [n for n in networks if n["dimensions"][3] <= n["dimensions"][1]]
    rest = [n for n in networks if n["dimensions"][3] > n["dimensions"][1]]
    kept = max((n["change"] / n["norm"] for n in wide), default=0.0)
    ratios = sorted(n["change"] / n["norm"] for n in rest) or [0.0]
    other = [n["refitted"] / n["norm"] for n in rest] or [0.0]
    findings = [
        Finding(
            "(a) ‖Uσ(VX) - U'σ(V'X)‖ is at most ‖Uσ(VX)‖",
            all(n["change"] <= n["norm"] * (1 + 1e-9) for n in networks),
            f"in {len(networks)} networks; at most {max(n['change'] / n['norm'] for n in networks):.3f} times "
            f"(training leaves {median(n['descent'] for n in networks):.2g} of the loss)",
        ),
        Finding(
            "(a) the outputs do not change where the batch is no larger than the hidden layer",
            kept < EXACT,
            f"by {kept:.1g} of their norm at most, in {len(wide)} networks; in the {len(rest)} others by "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f} (median {median(ratios):.2f})",
            "control",
        ),
        Finding(
            "(a) the bound says something about the group: it fails for a V' that has nothing to do with V",
            not all(n["refitted"] <= n["norm"] * (1 + 1e-9) for n in networks),
            f"it holds for random V' as well, with a median of {median(other):.2f} in place of {median(ratios):.2f}",
            "control",
        ),
    ]
    for name, panel in panels.items():
        findings += _finding_panel(name, panel)
    for batch in sorted({p["batch"] for p in panels.values()}):
        small, large = (
            p["runs"]
            for p in sorted((p for p in panels.values() if p["batch"] == batch), key=lambda p: p["size"])
        )
        kind = "paper" if batch <= panels["b"]["width"] else "control"
        farther = compare(*([mean(r["distance"]) for r in runs] for runs in (large, small)))
        higher = compare(*([_finding_peak(r, "line") for r in runs] for runs in (large, small)))
        findings.append(
            Finding(
                f"{batch} samples: larger elements lead farther, and raise the loss on the line",
                None if farther.higher is None or higher.higher is None else farther.higher and higher.higher,
                f"distance {farther}; largest loss {higher}",
                kind,
            )
        )
    return findings


def _finding_panel(name: str, panel: dict[str, Any]) -> list[Finding]:
    runs, batch = panel["runs"], panel["batch"]
    kind = "paper" if name in "bc" else "control"
    said = f"({name}) {batch} samples, size {panel['size']:g}"
    inside = [
        all(
            a < b
            for a, b in list(zip(_finding_average(r, "curve"), _finding_average(r, "line"), strict=True))[
                1:-1
            ]
        )
        for r in runs
    ]
    lower = compare(*([_finding_peak(r, path) for r in runs] for path in ("curve", "line")))
    rise = [max(max(c) for c in r["curve"]) - r["start"] for r in runs]
    off = [mean(max(c) for c in r["curve, other data"]) for r in runs]
    off_difference = [mean(max(c) for c in r["difference, other data"]) for r in runs]
    return [
        Finding(
            f"{said}: the loss on γ is lower than on the line, at all t",
            all(inside),
            f"in {sum(inside)} of {len(inside)} seeds",
            kind,
        ),
        Finding(f"{said}: the largest loss on γ is lower than on the line", lower.lower, str(lower), kind),
        Finding(
            f"{said}: the loss on γ is that of the start",
            max(rise) <= EXACT * max(r["norm"] for r in runs),
            f"it rises by at most {max(rise):.2g}; Proposition 3.4.1 allows {min(r['norm'] for r in runs):.3g}",
            "control",
        ),
        Finding(
            f"{said}: on other data the outputs stay within a tenth",
            max(off) < 0.1,
            f"they change by {median(off):.2g} of their norm; by {median(off_difference):.2g} with the difference form",
            "control",
        ),
    ]


def _finding_average(run: dict[str, Any], path: str) -> list[float]:
    """Over the curves of one minimum, at every time."""
    return [mean(at) for at in zip(*run[path], strict=True)]


def _finding_peak(run: dict[str, Any], path: str) -> float:
    return max(_finding_average(run, path))


def plot(results: dict[str, Any]):
    """(a), (b), (c) as published; below, what the bound leaves, and (b), (c) with more samples than hidden units."""
    figure, axes = canvas(2, 3, height=3.1)
    _panel_bound(axes[0, 0], results["networks"])
    _panel_ratios(axes[1, 0], results["networks"])
    places = {"b": axes[0, 1], "c": axes[0, 2], "d": axes[1, 1], "e": axes[1, 2]}
    for name, panel in results["panels"].items():
        _panel_paths(places[name], name, panel)
    return figure


def _panel_bound(axis, networks: list[dict[str, Any]]) -> None:
    _panel_points(axis, networks, lambda n: (n["change"], n["norm"]))
    end = max(n["norm"] for n in networks)
    axis.plot([0, end], [0, end], color="#777777", linewidth=0.9, linestyle="--", label="y = x")
    axis.set(xlabel="‖Uσ(VX) - U'σ(V'X)‖", ylabel="‖Uσ(VX)‖", title="(a) Proposition 3.4.1")
    legend(axis, loc="lower right")


def _panel_ratios(axis, networks: list[dict[str, Any]]) -> None:
    _panel_points(
        axis, networks, lambda n: (n["dimensions"][3] / n["dimensions"][1], n["change"] / n["norm"])
    )
    rest = [n for n in networks if n["dimensions"][3] > n["dimensions"][1]]
    axis.plot(
        [n["dimensions"][3] / n["dimensions"][1] for n in rest],
        [n["refitted"] / n["norm"] for n in rest],
        "x",
        color=color(3),
        markersize=4,
        label="random V' instead of gV",
    )
    axis.axhline(1.0, color="#777777", linewidth=0.9, linestyle="--")
    axis.set(xlabel="samples / hidden units", ylabel="change / ‖Uσ(VX)‖", title="what of the bound is used")
    logarithmic(axis, x=True)
    legend(axis, loc="upper left", bbox_to_anchor=(0, 0.95))


def _panel_points(axis, networks: list[dict[str, Any]], place) -> None:
    for i, (name, wide) in enumerate((("samples ≤ hidden units", True), ("samples > hidden units", False))):
        chosen = [place(n) for n in networks if (n["dimensions"][3] <= n["dimensions"][1]) == wide]
        if chosen:
            axis.plot(*zip(*chosen, strict=True), "o", markersize=3.5, alpha=0.75, color=color(i), label=name)


def _panel_paths(axis, name: str, panel: dict[str, Any]) -> None:
    t = panel["runs"][0]["t"]
    names = {
        "curve": "γ of Eq. (3.6)",
        "difference": "γ, difference form",
        "line": "line between the ends of γ",
    }
    for i, (path, label) in enumerate(names.items()):
        style: dict[str, Any] = {"linestyle": "--"} if path == "difference" else {}
        curve(axis, t, [_finding_average(r, path) for r in panel["runs"]], label, (0, 2, 1)[i], **style)
    axis.set(xlabel="t", ylabel="loss ‖W₂σ(W₁X) - Y‖")
    axis.set_title(f"({name}) {panel['batch']} samples, elements of size {panel['size']:g}")
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]), top=1.25 * axis.get_ylim()[1])
    legend(axis, loc="upper right")


@experiment(
    "curves",
    shows="Figure 3.3 (a, b, c)",
    paper="Dissertation, Section 3.4.1",
    claim="The map of Eq. (3.6) changes the outputs of a two-layer network by no more than their norm, in 100 "
    "networks of random dimensions; the loss on the curves that it induces stays low, and below that on the line "
    "between their ends, the more so the larger the group element.",
    settings=Curves,
    quick={"steps": 100, "curve_steps": 1000, "points": 21},
    judge=judge,
    plot=plot,
)
def curves(settings: Curves, each: Each) -> dict[str, Any]:
    """The networks of (a); for every batch and size the curves of every seed."""
    networks = each(network, [{"seed": i} for i in range(settings.networks)])
    settled = [(batch, size) for batch in settings.batches for size in settings.sizes]
    cases = [{"batch": b, "size": e, "seed": s} for b, e in settled for s in range(settings.seeds)]
    runs = iter(each(paths, cases))
    panels = {
        name: {
            "batch": b,
            "size": e,
            "width": settings.widths[1],
            "runs": [next(runs) for _ in range(settings.seeds)],
        }
        for name, (b, e) in zip("bcde", settled, strict=False)
    }
    return {"networks": networks, "panels": panels}
