"""Figure 3.1 and Propositions 3.2.1 to 3.2.3: the connected components of minima, counted by sampling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoloss import connect
from isoloss.connect import LinearRegression, ResidualRegression
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

SKIPS = (0.0, 1.0, -0.5)
"""epsilon of Eq. (3.2): none, that of the figure, and a negative one."""

BOX = 4.0
"""Half the side of the box that the figure shows."""

STILL = 1e-9
"""The loss of a minimum, relative to the squared norm of Y: float64, with condition numbers of some thousand."""


@dataclass(frozen=True)
class Count(Settings):
    """Dissertation Section 3.2; the dimensions and the samples are ours, for the paper proves what it counts."""

    layers: tuple[int, ...] = (2, 3, 4, 5)
    widths: tuple[int, ...] = (1, 2, 3)
    samples: int = 24
    """Minima drawn, for every component that there should be."""
    chord_weights: int = 12
    """Networks of so many weights are also counted without their group, by paths that Newton's method finds."""
    shown: int = 160
    """Minima drawn for each network of the figure."""


def linear(settings: Count, layers: int, width: int, seed: int) -> dict[str, Any]:
    """The minima of a linear network with random invertible data: the homeomorphism, and the components."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, width, width, dtype=torch.float64, generator=generator)
    problem = LinearRegression(x, y, layers)
    points = problem.sample(settings.samples * 2 ** (layers - 1), generator)
    elements = problem.elements(points)
    back = problem.minimum(elements)
    told: dict[str, Any] = {
        "there": _relative(problem.elements(back), elements),
        "back": _relative(back, points),
        "loss": float(problem(points).max() / y.square().sum()),
    }
    worst: list[float] = []

    def joined(a: Tensor, b: Tensor) -> Tensor:
        """The curves of the group from the first minimum of every component; each is checked by its loss."""
        return _star(problem, a, b, worst)

    found = connect.components(problem.residual, points, invariant=problem.invariant, joined=joined)
    told |= {
        "count": found.count,
        "separated": found.separated,
        "curve": max(worst) / float(y.square().sum()),
    }
    if problem.size <= settings.chord_weights:
        told["chords"] = connect.components(problem.residual, points, invariant=problem.invariant).count
    return told | _permuted(problem, points)


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def _star(problem: LinearRegression, a: Tensor, b: Tensor, worst: list[float]) -> Tensor:
    """Pairs joined by a curve along the group: those whose first point is the first of its component."""
    t, found = torch.linspace(0, 1, 33, dtype=torch.float64), torch.zeros(len(a), dtype=torch.bool)
    centres: dict[tuple[int, ...], Tensor] = {}
    for i in problem.joined(a, b).nonzero().flatten().tolist():
        signs = tuple(problem.invariant(a[i]).tolist())
        if torch.equal(centres.setdefault(signs, a[i]), a[i]):
            loss = float(problem(problem.curve(a[i], b[i], t)).max())
            worst.append(loss)
            found[i] = loss <= STILL * float(problem.targets.square().sum())
    return found


def _permuted(problem: LinearRegression, points: Tensor) -> dict[str, int]:
    """How many pairs of minima are connected, without and with a permutation of hidden units (Prop. 3.3.2)."""
    half = len(points) // 2
    a, b = points[:half], points[half : 2 * half]
    told = {"pairs": half, "connected": int(problem.joined(a, b).sum())}
    if problem.width < 2:
        return told
    t, still, reached = (
        torch.linspace(0, 1, 9, dtype=torch.float64),
        STILL * problem.targets.square().sum(),
        0,
    )
    for one, other in zip(a, b, strict=True):
        moved = problem.permuted(one, problem.aligning(one, other))
        if problem.joined(moved[None], other[None]):
            reached += int(problem(problem.curve(moved, other, t)).max() <= still)
    return told | {"permuted": reached}


def residual(settings: Count, skip: float, width: int, seed: int) -> dict[str, Any]:
    """The minima of a residual network with random data."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, width, width, dtype=torch.float64, generator=generator)
    problem = ResidualRegression(x, y, skip)
    points = problem.sample(4 * settings.samples, generator)
    found = connect.components(problem.residual, points, invariant=problem.invariant)
    return {"count": found.count, "separated": found.separated}


def surface(settings: Count, skip: float) -> dict[str, Any]:
    """The minima of the figure, X = Y = 1: samples within the box, and the component of each."""
    one = torch.ones(1, 1, dtype=torch.float64)
    problem = ResidualRegression(one, one, skip)
    points = problem.sample(4 * settings.shown, torch.Generator().manual_seed(0))
    points = points[(points.abs() <= BOX).all(1)][: settings.shown]
    found = connect.components(problem.residual, points, invariant=problem.invariant)
    return {
        "points": points.tolist(),
        "labels": found.labels.tolist(),
        "count": found.count,
        "separated": found.separated,
    }


def judge(results: dict[str, Any]) -> list[Finding]:
    """The homeomorphism, the powers of two, four and three; permutations and wider networks beside them."""
    linear, residual, shown = results["linear"], results["residual"], results["surfaces"]
    apart = max(max(r["there"], r["back"]) for r in linear)
    narrow = [r for r in residual if r["width"] == 1]
    wide = [r for r in residual if r["width"] > 1 and r["skip"]]
    chords = [r for r in linear if "chords" in r]
    permuted = [r for r in linear if "permuted" in r]
    many = sum(r["pairs"] for r in permuted)
    findings = [
        Finding(
            "Proposition 3.2.1: the minima of a linear network are homeomorphic to GL_h to the power of l - 1",
            apart < 1e-6 and all(r["loss"] < STILL for r in linear),
            f"there and back to {apart:.1g}, at a loss of at most {max(r['loss'] for r in linear):.1g} of |Y|², in "
            f"{len(linear)} networks",
        ),
        Finding(
            "Corollary 3.2.2: they have 2^(l - 1) components, whatever the width",
            _finding_all(linear),
            _finding_counts(linear, "layers", "l = ")
            + f"; the loss on the curves that join minima is at most {max(r['curve'] for r in linear):.1g} of |Y|²",
        ),
        Finding(
            "Proposition 3.2.3: without the skip connection numbers as weights have 4 components",
            _finding_all([*(r for r in narrow if not r["skip"]), shown["0.0"]], 4),
            _finding_counts([r for r in narrow if not r["skip"]], "skip", "ε = "),
        ),
        Finding(
            "Proposition 3.2.3: with it, they have 3",
            _finding_all([*(r for r in narrow if r["skip"]), shown["1.0"]], 3),
            _finding_counts([r for r in narrow if r["skip"]], "skip", "ε = "),
        ),
    ]
    if chords:
        findings.append(
            Finding(
                "Corollary 3.2.2, without the group: paths that Newton's method finds give the same counts",
                # It may miss a path; then the sampled components seem to be more.
                all(r["chords"] == r["separated"] for r in chords) or None,
                _finding_counts([r | {"count": r["chords"]} for r in chords], "layers", "l = "),
                "control",
            )
        )
    if permuted:
        before, after = (sum(r[name] for r in permuted) for name in ("connected", "permuted"))
        findings.append(
            Finding(
                "Proposition 3.3.2: all minima are connected up to permutations of hidden units",
                after == many,
                f"{after} of {many} pairs of minima, {before} without a permutation",
                "control",
            )
        )
    if wide:
        findings.append(
            Finding(
                "wider residual networks have 3 components as well",
                _finding_all(wide, 3),
                _finding_counts(wide, "width", "h = ")
                + f"; {min(r['separated'] for r in wide)} told apart by signs",
                "control",
            )
        )
    return findings


def _finding_all(runs: list[dict[str, Any]], count: int | None = None) -> bool | None:
    """Are there so many in all networks, or 2^(l - 1) if no number is given?

    Paths that are not found make a count too large, components without a sample make both too small.
    """
    wanted = [2 ** (r["layers"] - 1) if count is None else count for r in runs]
    pairs = list(zip(runs, wanted, strict=True))
    if any(r["separated"] > n or r["count"] < n for r, n in pairs):
        return False
    return all(r["separated"] == r["count"] == n for r, n in pairs) or None


def _finding_counts(runs: list[dict[str, Any]], key: str, said: str) -> str:
    texts = []
    for value in sorted({r[key] for r in runs}):
        counts = sorted({r["count"] for r in runs if r[key] == value})
        texts.append(f"{said}{value:g}: {' or '.join(map(str, counts))}")
    return f"{', '.join(texts)} (in {len(runs)} networks)"


def plot(results: dict[str, Any]):
    """Both minima in space, in the colours of the components that were counted; the counts."""
    figure, axes = canvas(1, 3, width=4.2, height=3.9, solid=(0, 1))
    for axis, skip in zip(axes[0], (0.0, 1.0), strict=False):
        _panel_minimum(axis, skip, results["surfaces"][str(skip)])
    _panel_counts(axes[0, 2], results)
    return figure


def _panel_minimum(axis, skip: float, told: dict[str, Any]) -> None:
    """Sheets by their formula, samples on them; the colour of a sheet is that of the sample nearest to its middle.

    The line is W_1 = 0, which the skip connection adds to the minimum.
    """
    from matplotlib.colors import LightSource, to_rgb

    points, labels = np.array(told["points"]), np.array(told["labels"], dtype=int)
    axis.computed_zorder = (
        False  # matplotlib draws points under all sheets; from back to front they are right
    )
    light, eye = LightSource(azdeg=300, altdeg=50), np.array([0.49, -0.79, 0.37])
    sheets = [
        (np.stack([of[of.shape[0] // 2, of.shape[1] // 2] for of in s]), s) for s in _panel_sheets(skip)
    ]
    for middle, sheet in sorted(sheets, key=lambda pair: pair[0] @ eye):
        label = int(labels[np.linalg.norm(points - middle, axis=1).argmin()])
        axis.plot_surface(
            *sheet,
            color=0.75 * np.array(to_rgb(color(label))) + 0.25,
            lightsource=light,
            rstride=1,
            cstride=1,
            linewidth=0,
            antialiased=False,
            rasterized=True,
        )
        side = np.sign(middle[0])
        mine = points[(labels == label) & (np.sign(points[:, 0]) == side)]
        axis.scatter(*mine.T, s=9, color=color(label), edgecolor="black", linewidth=0.4, depthshade=False)
    if skip:
        axis.plot([0, 0], [-BOX, BOX], [1 / skip] * 2, color="black", linewidth=1.5, zorder=10)
    for name, side in (("W_1", axis.xaxis), ("W_2", axis.yaxis), ("W_3", axis.zaxis)):
        side.set_ticks([-BOX, 0, BOX])
        side.set_label_text(f"${name}$", fontsize=9)
        side.labelpad = -6
        side.pane.set_alpha(0.4)
    axis.tick_params(pad=-2)
    axis.set(xlim=(-BOX, BOX), ylim=(-BOX, BOX), zlim=(-BOX, BOX))
    axis.set_box_aspect((1, 1, 1), zoom=1.05)
    axis.view_init(elev=22, azim=-58)
    formula = "$W_3 (W_2 W_1 + 1) = 1$" if skip else "$W_3 W_2 W_1 = 1$"
    axis.set_title(f"{formula}: {told['count']} components")


def _panel_sheets(skip: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Grids on the pieces of W_3 (W_2 W_1 + skip) = 1 within the box, along lines of equal W_2 W_1 where they bend."""
    s = np.linspace(0, 1, 40)
    sheets = []
    for upper in (True, False):  # the sign of W_3
        low, high = (1 / BOX - skip, BOX**2) if upper else (-(BOX**2), -1 / BOX - skip)
        for side in (1, -1):
            nearest = min(abs(low), abs(high)) / BOX
            apart = (
                np.geomspace(nearest, BOX, 50) if low * high > 0 else BOX * np.linspace(1e-6, 1, 80) ** 1.5
            )
            first = side * apart
            # W_2 W_1 lies between low and high, and |W_2| within the box.
            a, b = (np.clip(edge / first, -BOX, BOX) for edge in (low, high))
            # Denser near the edge, where W_3 grows.
            second = a + (b - a) * (s[:, None] ** 2 if upper else 1 - s[:, None] ** 2)
            sheets.append((np.broadcast_to(first, second.shape), second, 1 / (second * first + skip)))
    return sheets


def _panel_counts(axis, results: dict[str, Any]) -> None:
    """Components counted against those that there should be."""
    widths = sorted({r["width"] for r in results["linear"]})
    layers = sorted({r["layers"] for r in results["linear"]})
    axis.plot(layers, [2.0 ** (n - 1) for n in layers], color="#777777", linewidth=0.9, label="$2^{l - 1}$")
    for i, width in enumerate(widths):
        mine = [r for r in results["linear"] if r["width"] == width]
        shift = 0.13 * (i - (len(widths) - 1) / 2)
        axis.plot(
            [r["layers"] + shift for r in mine],
            [r["count"] for r in mine],
            "o",
            color=color(4 + i),
            label=f"linear, h = {width}",
        )
    residual = [r for r in results["residual"] if r["skip"]]
    for i, width in enumerate(sorted({r["width"] for r in residual})):
        mine = [r["count"] for r in residual if r["width"] == width]
        axis.plot(
            [3.3 + 0.12 * i] * len(mine),
            mine,
            "D",
            color=color(4 + i),
            markerfacecolor="none",
            label=f"skip connection, h = {width}",
        )
    axis.set_yscale("log", base=2)
    ticks = sorted({2 ** (n - 1) for n in layers} | {2, 3, 4})
    axis.set_yticks(ticks, [str(n) for n in ticks])
    axis.minorticks_off()
    axis.set_xticks(layers)
    axis.set(xlabel="layers l", ylabel="components counted", title="Corollary 3.2.2, Proposition 3.2.3")
    legend(axis, loc="upper left")


@experiment(
    "components",
    shows="Figure 3.1, Propositions 3.2.1 to 3.2.3",
    paper="Dissertation, Section 3.2",
    claim="The minimum of a linear network of l layers with square invertible weights has 2^(l - 1) connected "
    "components; for three layers of numbers that is 4, and a skip connection makes it 3.",
    settings=Count,
    quick={"layers": (2, 3, 4), "widths": (1, 2), "samples": 16, "seeds": 3},
    judge=judge,
    plot=plot,
)
def components(settings: Count, each: Each) -> dict[str, Any]:
    """The two networks of the figure, and random ones of all depths and widths."""
    shown = each(surface, [{"skip": e} for e in SKIPS[:2]])
    deep = [
        {"layers": n, "width": h, "seed": s}
        for n in settings.layers
        for h in settings.widths
        for s in range(settings.seeds)
    ]
    skipping = [
        {"skip": e, "width": h, "seed": s}
        for e in SKIPS
        for h in (1, 2)
        if h == 1 or e
        for s in range(settings.seeds)
    ]
    return {
        "surfaces": {str(e): run for e, run in zip(SKIPS, shown, strict=False)},
        "linear": [case | run for case, run in zip(deep, each(linear, deep), strict=True)],
        "residual": [case | run for case, run in zip(skipping, each(residual, skipping), strict=True)],
    }
