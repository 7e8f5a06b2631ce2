"""Figures 1 and 2 of the 2025 paper: Newton's direction across the gradient, and an angle learned on the fly."""

from dataclasses import dataclass
from math import pi
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from isoloss.learn.on_the_fly import (
    angle_slope,
    descend_on_the_fly,
    published_angle_slope,
    reversal_rate,
)
from isoloss.problems import Ascent, QuadraticForm, descend, rotation
from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings, experiment
from isoloss.reproduce._figure import canvas, color, legend
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each
from isoloss.teleport.theory import newton_components, newton_growth

LEARNED, PLAIN = "Algorithm 2", "descent"
CONTENDERS = (PLAIN, "random rotations", "one random angle", LEARNED, "quarter turns", "one teleport")
"""Without teleports; a new rotation at each step; one rotation, drawn once, at each step; the learned one; one by a
right angle at each step; one jump to the largest gradient at the start, then descent."""

REPEATED = ("random rotations", "one random angle", LEARNED)
"""Who has as many attempts as there are rates of the angle."""

EXAMPLE = torch.tensor([[1.6, 0.9], [0.9, 2.4]], dtype=torch.float64)
"""Of the pictures: a tilted ellipse."""

AT = (1.5, 0.35)
"""The point of Figure 1."""

SHARES = (0.25, 0.5, 1.0, 1.25)
"""Learning rates of the third panel, in units of the reversal rate."""

LEAST = 1e-30
"""Of the first loss: less is the minimum to rounding, since the point is then at a distance of eps."""

ROUNDING = 1e-9
"""Of derivatives relative to their scale, in float64, for matrices of condition up to 1e4."""


@dataclass(frozen=True)
class OnTheFly(Settings):
    """2025 paper, Section 4: the paper gives no numbers; matrices are drawn as in its Section 5.1.1, A = M^T M."""

    seeds: int = 100
    """Random matrices, with a random start each."""
    steps: int = 10
    rates: int = 99
    """Learning rates tried, evenly up to the largest at which descent converges."""
    group_rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    """Rates of the angle tried, in units of one over the loss at the start. Random rotations are drawn as often."""
    points: int = 400
    """Of which the derivative of Proposition 4.1 is taken, in each family of functions."""
    dimensions: int = 8
    """Most variables of these functions; the least are 2."""


def drawn(settings: OnTheFly) -> tuple[QuadraticForm, Tensor]:
    """Forms ``(seeds, 1, 2, 2)``, the batch beside which is that of the rates, and starts ``(seeds, 1, 2)``."""
    g = torch.Generator().manual_seed(0)
    draw = torch.randn(settings.seeds, 1, 2, 3, generator=g, dtype=torch.float64)
    return QuadraticForm(draw[..., :2].mT @ draw[..., :2]), draw[..., 2]


def shares(settings: OnTheFly) -> Tensor:
    """Learning rates in units of the largest at which descent converges, 1 / lambda_2."""
    return torch.arange(1, settings.rates + 1, dtype=torch.float64) / (settings.rates + 1)


# --- runs ---


def descents(settings: OnTheFly, contender: str, attempt: int) -> dict[str, Any]:
    """All matrices at all learning rates together: final losses, relative to the first.

    An attempt is a rate of the angle, or a draw of the rotations.
    """
    forms, x = drawn(settings)
    rate = shares(settings) / forms.spectrum[0][..., 1]
    start = x.expand(*rate.shape, 2)
    g = torch.Generator().manual_seed(attempt + 1)
    if contender == "random rotations":
        anywhere = Ascent(steps=0, start=(0.0, 2 * pi))
        losses = descend(
            forms,
            start,
            lr=rate,
            steps=settings.steps,
            jumps=range(settings.steps),
            teleport=anywhere,
            generator=g,
        ).losses
    elif contender == "one teleport":
        values, vectors = forms.spectrum
        start = ((forms(x) / values[..., 1]).sqrt().unsqueeze(-1) * vectors[..., 1]).expand(*rate.shape, 2)
        losses = descend(forms, start, lr=rate, steps=settings.steps).losses
    else:
        angles = 2 * pi * torch.rand(settings.seeds, 1, 1, generator=g, dtype=torch.float64)
        first = {"one random angle": angles, "quarter turns": torch.full_like(angles, pi / 2)}
        losses = descend_on_the_fly(
            forms,
            start,
            lr=rate,
            group_lr=(settings.group_rates[attempt] if contender == LEARNED else 0.0) / forms(start),
            steps=settings.steps,
            coordinates=first.get(contender, 0 * angles).expand(*rate.shape, 1),
        ).losses
    return {"finals": (losses[-1] / forms(x)).clamp_min(LEAST).tolist()}


def directions(settings: OnTheFly) -> dict[str, Any]:
    """Where one update of the angle turns, at all rates and all phases; and the closed forms."""
    forms, _ = drawn(settings)
    values, vectors = forms.spectrum
    n = 180
    phase = (torch.arange(n, dtype=torch.float64) + 0.5) * pi / n
    signs = torch.linalg.det(vectors)  # the eigenvectors may be a reflection
    u = torch.stack(torch.broadcast_tensors(phase.cos(), signs * phase.sin()), -1)
    y = forms.point((vectors.squeeze(1) @ u.mT).mT)
    angle = 2 * pi * torch.rand(settings.seeds, n, generator=torch.Generator().manual_seed(2)).double()
    x = forms.act(rotation(-angle), y)
    toward, off, published, wrong = [], [], [], []
    limits = (reversal_rate(forms) * values[..., 1]).flatten()
    for share in shares(settings).tolist():
        rate = (share / values[..., 1]).expand(-1, n)
        run = descend_on_the_fly(forms, x, lr=rate, group_lr=1.0, steps=1, coordinates=angle.unsqueeze(-1))
        update = (run.coordinates[1] - run.coordinates[0]).squeeze(-1)
        toward.append((update * (2 * phase).sin() > 0).double().mean(-1))
        off.append((update + angle_slope(forms, x, angle, rate)).abs().amax())
        printed = -published_angle_slope(forms, x, rate)
        published.append(((printed - update).abs().sum(-1) / update.abs().sum(-1)).median())
        wrong.append((printed * update < 0).double().mean())
    toward = torch.stack(toward, -1)
    told = shares(settings)
    clear = (told - limits.unsqueeze(-1)).abs() > ROUNDING
    below = told < limits.unsqueeze(-1)
    return {
        "toward": toward.mean(0).tolist(),
        "below": float(toward[below & clear].mean()),
        "beyond": float(toward[~below & clear].mean()),
        "limits": limits.tolist(),
        "off": float(torch.stack(off).amax()),
        "published": float(torch.stack(published).median()),
        "wrong": float(torch.stack(wrong).mean()),
    }


def fastest(settings: OnTheFly) -> dict[str, Any]:
    """Where on the level set of every form the angle moves fastest: in B y, and in the plane, degrees."""
    forms, _ = drawn(settings)
    values, n = forms.spectrum[0].squeeze(1), 4500
    phase = (torch.arange(n, dtype=torch.float64) + 0.5) * pi / 2 / n
    told = {"phase": [], "plane": [], "expected": [], "step": 90 / n}
    for pair in values:
        form = QuadraticForm(torch.diag(pair))
        level = form.point(torch.stack([phase.cos(), phase.sin()], -1))
        rate = reversal_rate(form) / 2
        top = int(angle_slope(form, level, torch.zeros(n, dtype=torch.float64), rate).abs().argmax())
        told["phase"].append(float(phase[top].rad2deg()))
        told["plane"].append(float(torch.atan2(level[top, 1], level[top, 0]).rad2deg()))
        told["expected"].append(float((pair[0] / pair[1]).sqrt().atan().rad2deg()))
    return told


def growth(settings: OnTheFly, family: str) -> dict[str, Any]:
    """The derivative of the squared gradient along Newton's direction across it, relative to the squared gradient."""
    g = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    found = []
    sizes = [2] if family == "network" else list(range(2, settings.dimensions + 1))
    for n in sizes:
        m = normal(2 * n, n)

        def loss(w: Tensor, m: Tensor = m) -> Tensor:
            if family == "quadratic":
                return (m @ w).square().sum()
            if family == "softmax":
                return torch.logsumexp(m @ w, 0) + w.square().sum() / 100
            return (w[0] * w[1] - 1).square() / 2

        w = normal(max(settings.points // len(sizes), 1), n)
        if family == "network":  # keep those with an indefinite Hessian
            xy = w.prod(-1)
            w = w[(1 - xy) * (3 * xy - 1) < 0]
        p = vmap(torch.func.grad(loss))(w).square().sum(-1)
        found += (vmap(lambda w, loss=loss: newton_growth(loss, w))(w) / p).tolist()
    return {"relative": found}


def pictures(settings: OnTheFly) -> dict[str, Any]:
    """What the first three panels draw, of one ellipse."""
    form, w = QuadraticForm(EXAMPLE), torch.tensor(AT, dtype=torch.float64)
    parallel, orthogonal = newton_components(form, w)
    values, vectors = form.spectrum
    phase = torch.linspace(0, 2 * pi, 361, dtype=torch.float64)
    turn = torch.linalg.det(vectors)
    u = torch.stack([phase.cos(), turn * phase.sin()], -1) @ vectors.mT
    ring = form.point(u)
    zero = torch.zeros_like(phase)
    half = torch.linspace(-1.25, 1.25, 81, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(half, half, indexing="xy"), -1)
    rate = float(1 / (2 * values[1]))
    speeds = {
        f"{share:g}": (-angle_slope(form, ring, zero, share * float(reversal_rate(form)))).tolist()
        for share in SHARES
    }
    return {
        "matrix": EXAMPLE.tolist(),
        "at": list(AT),
        "gradient": (-torch.func.grad(form)(w)).tolist(),
        "newton": (parallel + orthogonal).tolist(),
        "parallel": parallel.tolist(),
        "orthogonal": orthogonal.tolist(),
        "vectors": vectors.tolist(),
        "values": values.tolist(),
        "half": half.tolist(),
        "field": (-angle_slope(form, plane, torch.zeros_like(plane[..., 0]), rate)).tolist(),
        "ring": ring.tolist(),
        "ring_update": (-angle_slope(form, ring, zero, rate)).tolist(),
        "phase": phase.rad2deg().tolist(),
        "speeds": speeds,
    }


# --- the verdict ---


def judge(results: dict[str, Any]) -> list[Finding]:
    """Proposition 4.1; then the claims on the angle; then what it is worth."""
    convex = [v for f in ("quadratic", "softmax") for v in results["growth"][f]["relative"]]
    network = results["growth"]["network"]["relative"]
    told, quick = results["directions"], results["fastest"]
    apart = [abs(p - 45) for p in quick["phase"]]
    plane = [abs(p - e) for p, e in zip(quick["plane"], quick["expected"], strict=True)]
    limits, turns = told["limits"], (told["below"], told["beyond"])
    return [
        Finding(
            "the gradient norm grows along the component of Newton's direction that is orthogonal to the gradient, for "
            "convex functions",
            min(convex) > 0,
            f"at all of {len(convex)} points of quadratics and of log-sum-exp functions; the derivative of its square "
            f"is {min(convex):.2g} to {max(convex):.2g} times the square"
            if min(convex) > 0
            else f"not at {sum(v <= 0 for v in convex)} of {len(convex)} points",
        ),
        Finding(
            "it need not for functions that are not convex",
            any(v < 0 for v in network),
            f"it shrinks at {sum(v < 0 for v in network)} of {len(network)} points of (xy - 1)² / 2 with an indefinite "
            "Hessian: in the plane always",
        ),
        Finding(
            "the update of the angle consistently rotates toward the shorter axis",
            None if None in turns else turns == (1, 1),
            f"at {_finding_share(turns[0])} at rates below 1 / tr A, at {_finding_share(turns[1])} at rates beyond, "
            f"where descent still converges: up to 1 / λ₂, which is {1 / max(limits):.3g} to {1 / min(limits):.3g} "
            "times 1 / tr A",
        ),
        Finding(
            "it does so if and only if the learning rate is below 1 / tr A, at which descent does best",
            None if None in turns else turns == (1, 0),
            "all rates up to 1/L = 1 / 2λ₂ are; at 1 / tr A the update vanishes",
            "control",
        ),
        Finding(
            "the angle moves fastest halfway between the axes",
            max(apart) <= quick["step"],
            f"at 45 degrees to within {max(apart):.2g}, in the coordinates B y",
        ),
        Finding(
            "halfway on the level set in the plane",
            max(abs(p - 45) for p in quick["plane"]) <= quick["step"],
            f"there it is arctan √(λ₁/λ₂) from the long axis, {min(quick['plane']):.2g} to {max(quick['plane']):.2g} "
            f"degrees (to within {max(plane):.2g})",
            "control",
        ),
        Finding(
            "the update has the closed form of Appendix B",
            told["published"] < ROUNDING,
            f"off by {told['published']:.0%} of it (median over the rates), of the wrong sign in {told['wrong']:.0%}: "
            "rotations are cancelled that do not commute with what is between",
        ),
        Finding(
            "it has the closed form that is derived here",
            told["off"] < ROUNDING,
            f"off by {told['off']:.0e} at a loss of 1",
            "control",
        ),
        *_finding_descents(results),
    ]


def _finding_share(share: float | None) -> str:
    return "no point that was tried" if share is None else f"{share:.0%} of the points"


def _finding_descents(results: dict[str, Any]) -> list[Finding]:
    finals, best = results["finals"], results["best"]

    def versus(ours: str, theirs: str, at: dict[str, list[float]]):
        return compare(at[ours], at[theirs])

    shared = {name: [row[results["lemma"]] for row in finals[name]] for name in finals}
    there, tuned = versus(LEARNED, PLAIN, shared), versus(LEARNED, PLAIN, best)
    others = [name for name in CONTENDERS if name not in (LEARNED, PLAIN)]
    middle = ", ".join(f"{name} {median(best[name]):.1g}" for name in CONTENDERS)
    return [
        Finding(
            "learning the rotation speeds up the descent, at the rate 1/L",
            there.lower,
            f"loss after {results['steps']} steps at the group rate {results['group_rate']:g} / f(x₀): {there}",
        ),
        Finding(
            "each at its own best rates, for every matrix",
            tuned.lower,
            f"{tuned}; medians of the loss relative to the first: {middle}",
            "control",
        ),
        *(
            Finding(
                f"{LEARNED} ends lower than {name}, each at its own best rates",
                (c := versus(LEARNED, name, best)).lower,
                str(c),
                "control",
            )
            for name in others
        ),
        Finding(
            "rotations that learn nothing end lower than descent, each at its own best rate",
            versus("random rotations", PLAIN, best).lower,
            f"a new one at each step: {versus('random rotations', PLAIN, best)}; one at all steps: "
            f"{versus('one random angle', PLAIN, best)}",
            "control",
        ),
    ]


# --- the figure ---


def plot(results: dict[str, Any]):
    """Figure 1, Figure 2, the speed of the angle at several rates, and what it is worth at every rate."""
    figure, axes = canvas(2, 2, width=4.4, height=3.9)
    told = results["pictures"]
    _panel_newton(figure, axes[0][0], told)
    _panel_field(figure, axes[0][1], told)
    _panel_speed(axes[1][0], told)
    _panel_rates(axes[1][1], results)
    return figure


def _plot_ellipses(axis, told: dict[str, Any], levels: list[float], span: float):
    half = np.linspace(-span, span, 200)
    x, y = np.meshgrid(half, half)
    (a, b), (_, d) = told["matrix"]
    value = a * x**2 + 2 * b * x * y + d * y**2
    axis.grid(False)
    axis.contour(x, y, value, levels=levels, colors="#777777", linewidths=0.7)
    gradient = 2 * np.hypot(a * x + b * y, b * x + d * y)
    axis.set(aspect="equal", xlabel="$w_1$", ylabel="$w_2$", xlim=(-span, span), ylim=(-span, span))
    return x, y, gradient


def _plot_scale(figure, axis, shown, label: str) -> None:
    bar = figure.colorbar(shown, ax=axis, shrink=0.85)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _panel_newton(figure, axis, told: dict[str, Any]) -> None:
    """Figure 1; the gradient at a third of its length."""
    (a, b), (_, d) = told["matrix"]
    p, q = told["at"]
    value = a * p**2 + 2 * b * p * q + d * q**2
    x, y, gradient = _plot_ellipses(axis, told, [value / 4, value, 2 * value], 2.3)
    shown = axis.contourf(x, y, gradient, levels=16, cmap="Greys", alpha=0.55)
    _plot_scale(figure, axis, shown, "gradient norm")
    arrows = [
        ("gradient", 1 / 3, 3.0, r"$v_1 / 3$, gradient descent"),
        ("newton", 1.0, 1.8, r"$v_2$, Newton"),
        ("parallel", 1.0, 1.4, r"$v_\parallel$"),
        ("orthogonal", 1.0, 1.8, r"$v_\bot$"),
    ]
    for i, (name, scale, width, label) in enumerate(arrows):
        step = scale * np.array(told[name])
        line = {"color": color(i), "linewidth": width}
        style = line | {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (p + step[0], q + step[1]), (p, q), arrowprops=style)
        axis.plot([], [], **line, label=label)
    corners = np.array([told["parallel"], told["newton"], told["orthogonal"]]) + np.array(told["at"])
    axis.plot(*corners.T, ":", color="#333333", linewidth=1.0)
    axis.plot([p], [q], "o", color="black", markersize=4)
    axis.set_title("the gradient grows along $v_\\bot$")
    legend(axis, loc="lower left")


def _panel_field(figure, axis, told: dict[str, Any]) -> None:
    """Figure 2: the update of the angle in every point, and where it leads on one level set."""
    field, half = np.array(told["field"]), told["half"]
    _plot_ellipses(axis, told, [1.0], half[-1])
    top = float(np.abs(np.array(told["ring_update"])).max())
    shown = axis.pcolormesh(
        half, half, field / top, cmap="RdBu_r", vmin=-1.6, vmax=1.6, shading="gouraud", rasterized=True
    )
    _plot_scale(figure, axis, shown, r"update of $\theta$ (positive: counter-clockwise)")
    ring, update = np.array(told["ring"]), np.array(told["ring_update"])
    axis.plot(*ring.T, color="#333333", linewidth=1.0)
    tangent = np.gradient(ring, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    for i in range(15, 360, 30):
        step = 0.34 * update[i] / top * tangent[i]
        style = {"arrowstyle": "-|>", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
        axis.annotate("", ring[i] + step, ring[i], arrowprops=style | {"color": "black"})
    for k, style, name in ((0, ":", "long axis"), (1, "--", "short axis")):
        v = 1.7 * half[-1] * np.array(told["vectors"])[:, k]
        axis.plot([-v[0], v[0]], [-v[1], v[1]], style, color="#222222", linewidth=1.0, label=name)
    axis.set(
        title=r"update of $\theta$ at the rate 1/L",
        xlim=(half[0], half[-1]),
        ylim=(half[0], half[-1]),
        xlabel="$x_1$",
        ylabel="$x_2$",
    )
    axis.legend(fontsize=7, loc="lower left", framealpha=0.85, edgecolor="none")


def _panel_speed(axis, told: dict[str, Any]) -> None:
    """The update along one level set; above zero it turns to the short axis."""
    for i, (share, speed) in enumerate(told["speeds"].items()):
        axis.plot(
            told["phase"][:181],
            speed[:181],
            color=color(i),
            linewidth=1.5,
            label=rf"$\alpha = {share}\,/\,\mathrm{{tr}} A$",
        )
    axis.axhline(0, color="#777777", linewidth=0.6)
    for at in (45, 135):
        axis.axvline(at, color="#777777", linewidth=0.6, linestyle=":")
    axis.set_xticks([0, 45, 90, 135, 180], ["0\nlong axis", "45", "90\nshort axis", "135", "180\nlong axis"])
    axis.set(
        xlabel=r"angle of $By$ from the long axis, degrees",
        ylabel=r"update of $\theta$, per $\beta$ and loss",
        title=r"it reverses at $\alpha = 1 / \mathrm{tr} A$",
    )
    top = max(map(max, told["speeds"].values()))
    axis.set_ylim(-1.15 * top, 1.75 * top)
    legend(axis, loc="upper center", ncols=2)


def _panel_rates(axis, results: dict[str, Any]) -> None:
    """Median of the loss that is left, at every learning rate."""
    for i, name in enumerate(CONTENDERS):
        rows = np.log10(np.array(results["finals"][name], dtype=float))
        wide = 2.2 if name == LEARNED else 1.3
        axis.plot(results["shares"], np.median(rows, 0), color=color(i), linewidth=wide, label=name)
    axis.axvline(results["shares"][results["lemma"]], color="#777777", linewidth=0.8, linestyle=":")
    axis.set(
        xlabel=r"learning rate $\alpha \lambda_2$ (dotted: 1/L)",
        ylabel=r"$\log_{10}$ of the loss left, median",
        title=rf"after {results['steps']} steps, {len(rows)} matrices ($\beta = {results['group_rate']:g} / f(x_0)$)",
        ylim=(-31, 1),
    )
    legend(axis, loc="lower left")


@experiment(
    "on-the-fly",
    shows="2025 paper: Figures 1, 2, Proposition 4.1, Appendix B",
    paper="2025 paper, Section 4, Appendices A and B",
    claim="For convex functions the gradient norm grows along the component of Newton's direction that is orthogonal "
    "to the gradient. An angle of rotation learned during the descent consistently turns the point toward the shorter "
    "axis of the ellipse, where the gradient is larger, and moves fastest halfway between the axes.",
    settings=OnTheFly,
    quick={"seeds": 50, "points": 200},
    judge=judge,
    plot=plot,
)
def on_the_fly(settings: OnTheFly, each: Each) -> dict[str, Any]:
    """The derivatives, the directions, and descents at all rates."""
    families = ("quadratic", "softmax", "network")
    grown = dict(zip(families, each(growth, [{"family": f} for f in families]), strict=True))
    cases = [
        {"contender": name, "attempt": i}
        for name in CONTENDERS
        for i in range(len(settings.group_rates) if name in REPEATED else 1)
    ]
    tables: dict[str, list[Any]] = {name: [] for name in CONTENDERS}
    for case, run in zip(cases, each(descents, cases), strict=True):
        tables[case["contender"]].append(np.array(run["finals"], dtype=float))
    # What is drawn has one pair of rates for all matrices; below, everybody has the best for each matrix.
    pick = min(range(len(settings.group_rates)), key=lambda i: np.log(tables[LEARNED][i]).mean(0).min())
    chosen = {name: of[pick if name == LEARNED else 0] for name, of in tables.items()}
    best = {name: np.min(np.stack(of), axis=(0, 2)) for name, of in tables.items()}
    told = shares(settings)
    return {
        "pictures": each(pictures, [{}])[0],
        "directions": each(directions, [{}])[0],
        "fastest": each(fastest, [{}])[0],
        "growth": grown,
        "steps": settings.steps,
        "shares": told.tolist(),
        "lemma": int((told - 0.5).abs().argmin()),
        "group_rate": settings.group_rates[pick],
        "attempts": len(settings.group_rates),
        "finals": {name: t.tolist() for name, t in chosen.items()},
        "best": {name: t.tolist() for name, t in best.items()},
    }
