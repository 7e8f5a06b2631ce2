"""Learned optimizers of test functions, with and without learned teleports: Figures 3 to 6 of the 2025 paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import log, pi
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoloss.learn import TASKS, Design, Layout, Loop, MetaOptimizer, Recipe, Rollout, evaluate, meta_train
from isoloss.learn.baselines import (
    BASELINES,
    Ascent,
    GradientDescentTeleport,
    tune,
)
from isoloss.learn.tasks import Draw, SquaresTasks
from isoloss.learn.training import DivergenceError
from isoloss.reproduce._comparison import Comparison, compare
from isoloss.reproduce._experiment import Settings
from isoloss.reproduce._figure import canvas, color, curve, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each, Run

UPDATE, TELE = ("update",), ("update", "tele")
VARIANTS = {"update": UPDATE, "update,tele": TELE}

DESIGNS: dict[str, Callable[..., Design]] = {
    "published": Design.published,
    "retrained": Design.published,
    "whole": lambda *variant: _bounded(Design(variant=variant, network="whole", hidden=60)),
    "ours": lambda *variant: _bounded(
        Design(variant=variant, directions=("crest", "gradient-norm", "lookahead"))
    ),
}
"""Published: LSTMs of 300 units that read the whole gradient and put out step and angle. Retrained: the same, trained
as ours. Whole: with our units and bounds as well. Ours: an LSTM per coordinate, and teleports along directions."""

EVERY = 10
"""Steps between two teleports of our designs, the first before the first step. As published there is one per step."""

TUNING, UNSEEN = 2_000_003, 3_000_017
"""Seeds of the tasks on which rates are chosen, and of those that are shown; training draws from others."""

LEAST = 1e-20
"""Losses below count as this: the minimum is reached, and what is left is rounding."""

TRAJECTORIES, SHOWN = 3, 30
"""Tasks that are drawn, and steps of them."""


@dataclass(frozen=True)
class L2O(Settings):
    """2025 paper, Section 5.1: the paper gives neither trajectories, nor steps, nor rates for these figures.

    Networks, horizon and rates of the published design are those of its Section 5.2.
    """

    designs: tuple[str, ...] = tuple(DESIGNS)
    """Of meta-optimizers, each with and without teleports."""
    runs: int = 100
    """Training runs, the same for all."""
    batch: int = 64
    """Tasks of a run."""
    horizon: int = 100
    """Steps of a run."""
    unroll: int = 25
    """Of ours; as published it is 10."""
    rates: tuple[float, ...] = (1.0, 0.3, 3.0)
    """Of the meta-training, in units of `RATES`: each meta-optimizer is shown with its best one, see `score`. The
    published design keeps the paper's."""
    tasks: int = 200
    """Unseen, and as many for the rates of the baselines."""
    beyond: int = 10
    """Steps on unseen tasks, in horizons."""

    @property
    def steps(self) -> int:
        """On unseen tasks."""
        return self.beyond * self.horizon


QUICK = {
    "seeds": 2,
    "designs": ("published", "ours"),
    "runs": 20,
    "batch": 32,
    "horizon": 50,
    "rates": (1.0, 0.2),
    "tasks": 64,
}

RATES = {"published": 1e-4, "retrained": 1e-3, "whole": 3e-3, "ours": 1e-2}
"""Of Adam on the meta-optimizer. Published: ten times as much for the group element."""


def _bounded(design: Design) -> Design:
    """With shorter steps than is the default, for curvatures that differ by hundreds."""
    return replace(design, rate=0.1, trust=0.1, teleport_at=(), every=EVERY)


_LOST: dict[str, Any] = {
    "score": None,
    "losses": [None],
    "horizon": None,
    "beyond": None,
    "lost": {"horizon": 1.0, "beyond": 1.0},
}
"""Of a training that was given up."""


def recipe(settings: L2O, design: str, factor: float, seed: int) -> Recipe:
    """How a meta-optimizer is trained: as many tasks and steps for all."""
    given: dict[str, Any] = {"batch": settings.batch, "horizon": settings.horizon, "seed": seed}
    given |= {
        "lr": factor * RATES[design],
        "validate": max(settings.runs // 5, 1),
        "validation": settings.batch,
    }
    if design == "published":
        return Recipe.published(settings.runs, **given)
    return Recipe(runs=settings.runs, unroll=settings.unroll, **given)


# --- runs ---


def learned(
    settings: L2O, distribution: str, design: str, variant: str, factor: float, seed: int
) -> dict[str, Any]:
    """Train one meta-optimizer, and run it and its ablations on unseen tasks."""
    tasks = tasks_of(distribution)
    torch.manual_seed(seed)
    meta = MetaOptimizer.of(DESIGNS[design](*VARIANTS[variant]), tasks)
    try:
        trained = meta_train(meta, tasks, recipe(settings, design, factor, seed))
    except DivergenceError:
        return _LOST
    draw = unseen(settings, distribution, seed)
    found = evaluate(meta, tasks, draw, settings.steps)
    told = _summary(settings, found) | {
        "score": score(settings, meta, tasks, seed),
        "trajectories": trained.trajectories,
        "rate": found.mean_rate,
        "mean-rate": _summary(
            settings, evaluate(meta, tasks, draw, settings.horizon, ablate="mean-rate", rate=found.mean_rate)
        ),
    }
    if variant == "update,tele":
        told["identity"] = _summary(
            settings, evaluate(meta, tasks, draw, settings.horizon, ablate="identity")
        )
        told["teleports"] = _teleports(settings, found)
    if seed == 0:
        told["paths"] = _paths(meta, tasks, _first(draw, TRAJECTORIES)).tolist()
    return told


def score(settings: L2O, meta: MetaOptimizer, tasks: SquaresTasks, seed: int) -> float:
    """What chooses the rate of the meta-training: log losses on the tasks that tune baselines.

    Their medians at the horizon and at the end, and the mean of both.
    """
    losses = evaluate(meta, tasks, tuning(settings, tasks, seed), settings.steps).losses
    return sum(log(_median(losses[t])) for t in (settings.horizon, settings.steps)) / 2


def baseline(settings: L2O, distribution: str, name: str, seed: int) -> dict[str, Any]:
    """A baseline at its best rate for the horizon, chosen on other tasks, on the unseen ones."""
    tasks = tasks_of(distribution)
    found = tune(candidates(name), tasks, tuning(settings, tasks, seed), settings.horizon)
    run = found.baseline.run(tasks, unseen(settings, distribution, seed), settings.steps, found.best)
    return _summary(settings, run) | {"rate": found.best}


def levels(settings: L2O, distribution: str) -> dict[str, Any]:
    """Losses around the tasks of which trajectories are drawn."""
    tasks, draw = tasks_of(distribution), _first(unseen(settings, distribution, 0), TRAJECTORIES)
    half = torch.linspace(-1, 1, 81, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(half, half, indexing="xy"), -1).flatten(0, 1)
    told = []
    for i in range(TRAJECTORIES):
        data = {name: x[i] for name, x in draw.data.items()}
        problem = tasks.problem(data)
        middle = problem.point(torch.zeros(2, dtype=torch.float64))
        start = draw.parameters["w"][i]
        reach = 1.6 * (start - middle).abs().amax()
        told.append(
            {
                "middle": middle.tolist(),
                "reach": float(reach),
                "start": start.tolist(),
                "losses": problem(middle + reach * plane).reshape(81, 81).tolist(),
            }
        )
    return {"tasks": told}


def tasks_of(distribution: str) -> SquaresTasks:
    """The distribution of that name."""
    tasks = TASKS[distribution]()
    assert isinstance(tasks, SquaresTasks)
    return tasks


def tuning(settings: L2O, tasks: SquaresTasks, seed: int) -> Draw:
    """The tasks on which rates are chosen."""
    return tasks.draw(settings.tasks, torch.Generator().manual_seed(TUNING + seed))


def unseen(settings: L2O, distribution: str, seed: int) -> Draw:
    """The tasks that are shown."""
    return tasks_of(distribution).draw(settings.tasks, torch.Generator().manual_seed(UNSEEN + seed))


def candidates(name: str):
    """Settings of a baseline: one teleport, or five, as far as a quarter turn each."""
    if name != "gd-teleport":
        return [BASELINES[name]()]
    return [GradientDescentTeleport(most=most, ascent=Ascent(radius=pi / 2)) for most in (1, 5)]


def grid(settings: L2O) -> list[int]:
    """Steps at which losses are kept: all at first, later ones evenly by their logarithm."""
    late = np.geomspace(1, settings.steps, 60).round().astype(int)
    return sorted({*range(min(20, settings.steps) + 1), settings.horizon, settings.steps, *late.tolist()})


def _summary(settings: L2O, found: Rollout) -> dict[str, Any]:
    """Medians over the tasks, as far as was run, and the share of tasks that do not end below where they began."""
    losses, last = found.losses, len(found.losses) - 1
    ends = {"horizon": settings.horizon} | ({"beyond": last} if last == settings.steps else {})
    return {
        "losses": [_median(losses[t]) for t in grid(settings) if t <= last],
        **{name: _median(losses[t]) for name, t in ends.items()},
        "lost": {name: float((~(losses[t] < losses[0])).double().mean()) for name, t in ends.items()},
    }


def _median(values: Tensor) -> float:
    """Infinite if half of them are."""
    return float(values.clamp_min(LEAST).median())


def _teleports(settings: L2O, found: Rollout) -> dict[str, Any]:
    """Gains and sizes by teleport within the horizon, and the largest change of the loss above rounding."""
    inside = [i for i, t in enumerate(found.jumps) if t < settings.horizon]
    before = found.losses[list(found.jumps)]
    clear = (before > LEAST) & found.changes.isfinite()
    return {
        "steps": [found.jumps[i] for i in inside],
        "gains": [_quantiles(found.gains[i]) for i in inside],
        "sizes": [_quantiles(found.sizes[i]) for i in inside],
        "change": float(found.changes[clear].abs().amax()) if bool(clear.any()) else 0.0,
        "gain": float(found.gains[inside].where(found.gains[inside].isfinite(), 1.0).median()),
        "refused": float((found.sizes[inside] == 0).double().mean()),
    }


def _quantiles(values: Tensor) -> list[float]:
    known = values[values.isfinite()]
    if not len(known):
        return [float("nan")] * 3
    return torch.quantile(known, known.new_tensor([0.1, 0.5, 0.9])).tolist()


@torch.no_grad()
def _paths(meta: MetaOptimizer, tasks: SquaresTasks, draw: Draw) -> Tensor:
    """Where the optimizees are, step by step, (tasks, steps + 1, 2)."""
    loop = Loop(meta, tasks, Layout.of(draw.parameters))
    point = loop.begin(draw.parameters)
    path = [point.weights]
    for _ in range(SHOWN):
        point = loop.run(point, [draw.data]).end
        path.append(point.weights)
    return torch.stack(path, 1)


def _first(draw: Draw, n: int) -> Draw:
    parts = ({name: x[:n] for name, x in part.items()} for part in (draw.parameters, draw.data))
    return Draw(*parts)


def study(settings: L2O, each: Each, distributions: Mapping[str, str]) -> dict[str, Any]:
    """Every meta-optimizer and every baseline on every distribution.

    Args:
        settings: Of the experiment.
        each: Runs the cases.
        distributions: Names in `TASKS`, and what to call them.
    """
    cases = [
        {"distribution": d, "design": design, "variant": v, "factor": f, "seed": s}
        for d in distributions
        for design in settings.designs
        for v in VARIANTS
        for f in factors(settings, design)
        for s in range(settings.seeds)
    ]
    trained = dict(zip(map(_key, cases), each(learned, cases), strict=True))
    plain = [
        {"distribution": d, "name": n, "seed": s}
        for d in distributions
        for n in BASELINES
        for s in range(settings.seeds)
    ]
    known = dict(zip(map(_key, plain), each(baseline, plain), strict=True))
    pictures = each(levels, [{"distribution": d} for d in distributions])
    seeds = range(settings.seeds)
    return {
        "steps": grid(settings),
        "horizon": settings.horizon,
        "beyond": settings.beyond,
        "designs": list(settings.designs),
        "distributions": {
            d: {
                "title": title,
                "levels": picture["tasks"],
                "learned": {
                    design: {
                        v: [
                            _chosen(
                                [
                                    trained[d, design, v, f, s] | {"factor": f}
                                    for f in factors(settings, design)
                                ]
                            )
                            for s in seeds
                        ]
                        for v in VARIANTS
                    }
                    for design in settings.designs
                },
                "baselines": {n: [known[d, n, s] for s in seeds] for n in BASELINES},
            }
            for (d, title), picture in zip(distributions.items(), pictures, strict=True)
        },
    }


def factors(settings: L2O, design: str) -> tuple[float, ...]:
    """Rates of the meta-training that are tried."""
    return (1.0,) if design == "published" else settings.rates


def _key(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(case.values())


def _chosen(runs: list[Run]) -> Run:
    """That of the best score; what diverged is worst."""
    return min(runs, key=lambda run: float("inf") if run["score"] is None else run["score"])


# --- the verdict ---


def judge(results: dict[str, Any]) -> list[Finding]:
    """Vanilla or augmented, as published and as built here, and what the parts are worth."""
    found = [_finding_published(of) for of in results["distributions"].values()]
    for of in results["distributions"].values():
        for design in results["designs"]:
            found += _finding_design(results, of, design)
    return found


def _finding_published(of: dict[str, Any]) -> Finding:
    versus = _versus(of, "published", "update", "update,tele", "horizon")
    return Finding(
        f"{of['title']}: vanilla L2O ends lower than with learned teleports",
        versus.lower,
        f"as published, median loss on unseen tasks after the trained horizon: {versus}; "
        f"{_medians(of, 'published', 'horizon')}",
    )


def _finding_design(results: dict[str, Any], of: dict[str, Any], design: str) -> list[Finding]:
    told, title = of["learned"][design], f"{of['title']}, {design}"
    gained, long = (_versus(of, design, "update,tele", "update", at) for at in ("horizon", "beyond"))
    runs = [run for run in told["update,tele"] if "teleports" in run]
    found = [
        Finding(
            f"{title}: learned teleports lower the loss",
            gained.lower,
            f"after the trained horizon: {gained}; {_medians(of, design, 'horizon')}",
            "control",
        ),
        Finding(
            f"{title}: so they do over {results['beyond']} times the horizon",
            long.lower,
            f"{long}; {_medians(of, design, 'beyond')}",
            "control",
        ),
        *(_finding_converges(results, title, variant, told[variant]) for variant in VARIANTS),
        _finding_baselines(of, design, title),
    ]
    return found + (_finding_ablations(title, told, runs) if runs else [])


def _finding_converges(results: dict[str, Any], title: str, variant: str, runs: list[Run]) -> Finding:
    there, beyond = ([run[at] for run in runs] for at in ("horizon", "beyond"))
    slack = [None if v is None else v * SLACK for v in there]
    stays = compare(beyond, slack)
    lost = max(run["lost"]["beyond"] for run in runs)
    return Finding(
        f"{title}: {variant} still converges at {results['beyond']} times the horizon",
        stays.wins == stays.of and lost <= ASTRAY,
        f"in {stays.wins} of {stays.of} seeds the median loss is at most {SLACK} times that at the horizon; "
        f"up to {lost:.0%} of the tasks end no lower than they began",
        "control",
    )


def _finding_baselines(of: dict[str, Any], design: str, title: str) -> Finding:
    best = min(of["baselines"], key=lambda name: _middle(of["baselines"][name], "horizon"))
    ours = min(VARIANTS, key=lambda v: _middle(of["learned"][design][v], "horizon"))
    versus = compare(
        *([run["horizon"] for run in runs] for runs in (of["learned"][design][ours], of["baselines"][best]))
    )
    others = ", ".join(f"{name} {_middle(runs, 'horizon'):.2g}" for name, runs in of["baselines"].items())
    return Finding(
        f"{title}: the better of the two ends lower than the best baseline",
        versus.lower,
        f"{ours} against {best}, after the trained horizon: {versus}; medians of the baselines: {others}",
        "control",
    )


def _finding_ablations(title: str, told: dict[str, list[Run]], runs: list[Run]) -> list[Finding]:
    whole, identity, mean = (
        [run["horizon"] for run in runs],
        [run["identity"]["horizon"] for run in runs],
        [run["mean-rate"]["horizon"] for run in runs],
    )
    moved, local = compare(whole, identity), compare(whole, mean)
    gain = median(run["teleports"]["gain"] for run in runs)
    change = max(run["teleports"]["change"] for run in runs)
    first = median(run["teleports"]["sizes"][0][1] for run in runs)
    return [
        Finding(
            f"{title}: the trained optimizer needs its teleports",
            moved.lower,
            f"with them against g = 1, after the trained horizon: {moved}",
            "control",
        ),
        Finding(
            f"{title}: and its local updates",
            local.lower,
            f"against descent at their mean rate, {median(run['rate'] for run in runs):.2g}: {local}",
            "control",
        ),
        Finding(
            f"{title}: the teleports raise the gradient norm",
            gain > 1 + MOVED,
            f"median gain {gain:.3g}; the first turns by {first:.2g}, median; the loss changes by at most {change:.1g} "
            "of itself",
            "control",
        ),
    ]


SLACK = 2.0
"""By how much the loss may be higher later and still count as converged: limit cycles, not rounding."""

ASTRAY = 0.1
"""Of the tasks may end no lower than they began, and it still counts as converged."""

MOVED = 0.01
"""The least gain of the gradient norm that counts."""


def _versus(of: dict[str, Any], design: str, ours: str, theirs: str, at: str) -> Comparison:
    told = of["learned"][design]
    return compare([run[at] for run in told[ours]], [run[at] for run in told[theirs]])


def _medians(of: dict[str, Any], design: str, at: str) -> str:
    told = of["learned"][design]
    return "medians " + ", ".join(f"{v} {_middle(told[v], at):.2g}" for v in VARIANTS)


def _middle(runs: list[Run], at: str) -> float:
    return median(float("inf") if run[at] is None else run[at] for run in runs)


# --- the figure ---


def plot(results: dict[str, Any]):
    """By distribution: the losses of the published design, of ours, paths of ours, gains."""
    rows = results["distributions"]
    figure, axes = canvas(len(rows), 4, width=4.0, height=3.5)
    shown = results["designs"][-1]
    for row, of in zip(axes, rows.values(), strict=True):
        _panel_losses(row[0], results, of, "published")
        _panel_losses(row[1], results, of, shown)
        _panel_paths(row[2], of, shown)
        _panel_gains(row[3], of, results["designs"])
    return figure


def _panel_losses(axis, results: dict[str, Any], of: dict[str, Any], design: str) -> None:
    """Median over the tasks; lines and bands are median and range over the trainings."""
    told = of["learned"][design]
    x = [t + 1 for t in results["steps"]]
    best = min(of["baselines"], key=lambda name: _middle(of["baselines"][name], "horizon"))
    for name in dict.fromkeys(("gd", "gd-teleport", best)):
        runs = [run["losses"] for run in of["baselines"][name]]
        style = {"gd": ":", "gd-teleport": "-."}.get(name, "--")
        axis.plot(
            x, np.median(np.array(runs, dtype=float), 0), style, color="#666666", linewidth=1.1, label=name
        )
    if "identity" in told["update,tele"][0]:
        whole = [run for run in told["update,tele"] if "identity" in run]
        for key, label, i in (
            ("identity", "update,tele with $g_t = 1$", 2),
            ("mean-rate", "update,tele, $f_t$: mean rate", 3),
        ):
            runs = [run[key]["losses"] for run in whole]
            curve(axis, x, runs, label, i, linewidth=1.0, linestyle="--")
    for i, variant in enumerate(VARIANTS):
        curve(axis, x, [run["losses"] for run in told[variant]], variant, i, linewidth=1.9)
    axis.axvline(results["horizon"] + 1, color="#777777", linewidth=0.8, linestyle=":")
    logarithmic(axis, x=True, y=True)
    starts = [run["losses"][0] for runs in of["baselines"].values() for run in runs]
    axis.set_ylim(LEAST / 3 if _reaches(told) else None, 30 * max(starts))
    axis.set(
        xlabel="step + 1 (dotted: trained horizon)", ylabel="loss, median", title=f"{of['title']}: {design}"
    )
    legend(axis, loc="lower left")


def _reaches(told: dict[str, list[Run]]) -> bool:
    return any(
        v is not None and v <= 10 * LEAST for runs in told.values() for run in runs for v in run["losses"]
    )


def _panel_paths(axis, of: dict[str, Any], design: str) -> None:
    """Paths over the level sets of a task: minimum at 0, start within 1; of a task whose paths stay in the picture."""
    told = of["learned"][design]
    runs = {variant: told[variant][0]["paths"] for variant in VARIANTS if "paths" in told[variant][0]}
    drawn = [
        {
            variant: (np.array(paths[k], dtype=float) - of["levels"][k]["middle"]) / of["levels"][k]["reach"]
            for variant, paths in runs.items()
        }
        for k in range(len(of["levels"]))
    ]
    inside = (k for k, paths in enumerate(drawn) if all(np.abs(path).max() <= 1 for path in paths.values()))
    k = next(inside, 0)
    half = np.linspace(-1, 1, 81)
    losses = np.array(of["levels"][k]["losses"], dtype=float)
    axis.grid(False)
    top = np.log10(losses.max())
    axis.contour(
        half,
        half,
        np.log10(losses + LEAST),
        levels=np.linspace(top - 4, top, 13),
        colors="#aaaaaa",
        linestyles="solid",
        linewidths=0.5,
    )
    for variant, path in drawn[k].items():
        i = list(VARIANTS).index(variant)
        axis.plot(*path.T, "o-", color=color(i), markersize=2.5, linewidth=1.1, label=variant)
    axis.plot([0], [0], "k*", markersize=7)
    ticks = (-1, -0.5, 0, 0.5, 1)
    axis.set(
        aspect="equal", xlim=(-1, 1), ylim=(-1, 1), xticks=ticks, yticks=ticks, xlabel="$w_1$", ylabel="$w_2$"
    )
    axis.set_title(f"{of['title']}: {design}, {SHOWN} steps")
    legend(axis, loc="best")


def _panel_gains(axis, of: dict[str, Any], designs: list[str]) -> None:
    """Gain of the gradient norm at every teleport: median and the middle eight tenths of the tasks."""
    for i, design in enumerate(designs):
        runs = [run["teleports"] for run in of["learned"][design]["update,tele"] if "teleports" in run]
        if not runs:
            continue
        steps = np.array(runs[0]["steps"])
        gains = np.median(np.array([run["gains"] for run in runs], dtype=float), 0)
        axis.plot(steps, gains[:, 1], "o-", color=color(i + 4), markersize=3, linewidth=1.2, label=design)
        axis.fill_between(steps, gains[:, 0], gains[:, 2], color=color(i + 4), alpha=0.15, linewidth=0)
    axis.axhline(1, color="#777777", linewidth=0.8)
    logarithmic(axis, y=True)
    axis.set(xlabel="step", ylabel="gradient norm after / before", title=f"{of['title']}: gain of teleports")
    legend(axis, loc="best")
