"""Meta-optimizers on the 20x20 regression: trained as published and as we do, on tasks that nobody has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from isoloss._figure import BEYOND
from isoloss.learn import (
    Action,
    Design,
    DivergenceError,
    Draw,
    MetaOptimizer,
    Recipe,
    Rollout,
    Tasks,
    Tensors,
    evaluate,
    meta_train,
)
from isoloss.learn.baselines import BASELINES, TELEPORTS, GradientDescent, tune
from isoloss.learn.tasks import TwoLayerRegression
from isoloss.reproduce._comparison import compare
from isoloss.reproduce._experiment import Settings
from isoloss.reproduce._figure import canvas, color, curve, legend, logarithmic
from isoloss.reproduce._finding import Finding
from isoloss.reproduce._runs import Each

TESTS, TUNING = 9_000_000, 8_000_000
"""Where the seeds of the tasks begin on which optimizers are compared, and on which learning rates are tuned."""

STARTS = ("at once", "after a small step")
"""Of a baseline: at the tasks' own start, or where the published designs start. Each baseline has its better one."""


@dataclass(frozen=True)
class Learned(Settings):
    """Dissertation Section 5.5; 2025 paper, Section 5.2."""

    size: int = 20
    """Samples, and units of every layer."""
    tests: int = 24
    """Unseen tasks per seed; the papers have 5."""
    horizon: int = 100
    """Steps of a run."""
    times: int = 10
    """How many times longer the unseen tasks are run."""
    published: tuple[int, int, int] = (600, 700, 30)
    """Trajectories of update, of update,tele, and of all that learn a learning rate, by the papers' design."""
    trajectories: int = 704
    """Trajectories of each of our designs."""
    batch: int = 16
    """Of them trained together."""
    teleports: int = len(TELEPORTS)
    """Settings of ordinary teleportation that are tried, each at its best rate."""
    gd_rate: float = 3e-4
    """The papers' largest rate that does not diverge."""
    first_rate: float = 1e-4
    """Of the step of gradient descent before the published designs begin; not in the text; without it they diverge."""
    published_radius: float = 1e-3
    """Bound on their elements; not in the text; without it they diverge. The published code's move nothing."""


@dataclass(frozen=True)
class Begun:
    """Tasks whose optimizees have taken one step of gradient descent.

    Args:
        tasks: Which.
        rate: Of the step.
    """

    tasks: Tasks
    rate: float
    name: ClassVar[str] = "regression"

    @property
    def actions(self) -> tuple[Action, ...]:
        """Those of the tasks."""
        return self.tasks.actions

    def draw(self, n: int, generator: torch.Generator | None = None) -> Draw:
        """Tasks as they are drawn, after the step."""
        drawn = self.tasks.draw(n, generator)
        slopes = vmap(grad(self.tasks.loss))(drawn.parameters, drawn.data)
        return Draw({k: w - self.rate * slopes[k] for k, w in drawn.parameters.items()}, drawn.data)

    def minibatch(self, data: Tensors, generator: torch.Generator | None = None) -> Tensors:
        """That of the tasks."""
        return self.tasks.minibatch(data, generator)

    def loss(self, parameters: Tensors, data: Tensors) -> Tensor:
        """That of the tasks."""
        return self.tasks.loss(parameters, data)


# --- one run each ---


def train(settings: Learned, kind: str, variant: str, seed: int) -> dict[str, Any]:
    """Train a meta-optimizer, and run it, and what its ablations leave of it, on tasks that it has not seen.

    Args:
        settings: Sizes.
        kind: "published" as in the papers; "literal" the same with elements and first steps that nothing bounds;
            "ours".
        variant: What is learned, separated by commas.
        seed: Of the training, and of the unseen tasks.
    """
    tasks = started(settings, kind == "published")
    design, recipe = _designed(settings, kind, tuple(variant.split(",")), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        meta = MetaOptimizer.of(design, tasks)
    history: list[Any] = []

    def watch(record: Any) -> None:
        history.append(record.meta_loss)

    failure = None
    try:
        meta_train(meta, tasks, recipe, watch=watch)
    except DivergenceError as error:
        failure = str(error)

    def run(steps: int, **ablation: Any) -> dict[str, Any]:
        return _told(
            settings, kind == "published", seed, steps, lambda d, n: evaluate(meta, tasks, d, n, **ablation)
        )

    told = run(settings.horizon)
    if told["finite"] and failure is None:
        longer = run(settings.horizon * settings.times)
        # Rates, teleports and their gains are those of the papers' horizon.
        told |= {"losses": longer["losses"], "finite": longer["finite"]}
    ablations = {}
    if "tele" in design.variant:
        ablations["g = 1"] = run(settings.horizon, ablate="identity")
    if told["rate"] and isfinite(told["rate"]):
        ablations["f at its mean rate"] = run(settings.horizon, ablate="mean-rate", rate=told["rate"])
    return told | {
        "failure": failure,
        "history": history,
        "batch": recipe.batch,
        "ablations": {name: of["losses"] for name, of in ablations.items()},
    }


def _designed(settings: Learned, kind: str, variant: tuple[str, ...], seed: int) -> tuple[Design, Recipe]:
    sizes: dict[str, Any] = {"horizon": settings.horizon, "seed": seed}
    if kind == "ours":
        recipe = Recipe(runs=max(1, settings.trajectories // settings.batch), batch=settings.batch, **sizes)
        return Design(variant=variant), recipe
    update, both, rate = settings.published
    runs = rate if "update" not in variant else both if "tele" in variant else update
    design = Design.published(*variant)
    if kind == "published":
        design = replace(design, radius=settings.published_radius)
    return design, Recipe.published(runs, **sizes)


def tuned(settings: Learned, name: str, start: str) -> dict[str, Any]:
    """Search the best learning rate of a baseline at the papers' horizon, and run it on the tasks of every seed."""
    begun = start == STARTS[1]
    tasks = started(settings, begun)
    candidates = TELEPORTS[: settings.teleports] if name == "gd-teleport" else (BASELINES[name](),)
    tuning = tasks.draw(settings.tests, torch.Generator().manual_seed(TUNING))
    found = tune(candidates, tasks, tuning, settings.horizon - begun, rate=settings.gd_rate)
    steps = settings.horizon * settings.times

    def run(draw: Draw, n: int) -> Rollout:
        return found.baseline.run(tasks, draw, n, found.best)

    return {
        "rate": found.best,
        "start": start,
        "score": found.score,
        "sweep": [{"rate": r, "score": s} for r, s in zip(found.rates, found.scores, strict=True)],
        "runs": [_told(settings, begun, seed, steps, run) for seed in range(settings.seeds)],
    }


def plain(settings: Learned, rate: float, start: str) -> dict[str, Any]:
    """Gradient descent at a given rate, on the tasks of every seed."""
    begun = start == STARTS[1]
    tasks, steps = started(settings, begun), settings.horizon * settings.times

    def run(draw: Draw, n: int) -> Rollout:
        return GradientDescent().run(tasks, draw, n, rate)

    return {"rate": rate, "runs": [_told(settings, begun, s, steps, run) for s in range(settings.seeds)]}


def started(settings: Learned, begun: bool) -> Tasks:
    """The regression, at its own start or after a small step."""
    tasks = TwoLayerRegression(settings.size)
    return Begun(tasks, settings.first_rate) if begun else tasks


def _told(settings: Learned, begun: bool, seed: int, steps: int, run: Any) -> dict[str, Any]:
    """A rollout on the unseen tasks of a seed as numbers; the first step counts, whoever takes it."""
    drawn = [
        started(settings, b).draw(settings.tests, torch.Generator().manual_seed(TESTS + seed))
        for b in (False, begun)
    ]
    rollout = run(drawn[1], steps - begun)
    losses = rollout.losses
    if begun:
        first = vmap(TwoLayerRegression(settings.size).loss)(drawn[0].parameters, drawn[0].data)
        losses = torch.cat([first[None], losses])
    at = marks(settings, steps)
    known = rollout.rates[rollout.rates.isfinite()]
    changes = rollout.changes[rollout.changes.isfinite()].abs()
    return {
        "losses": losses[at].T.tolist(),
        "finite": bool(losses.isfinite().all()),
        "jumps": [j + begun for j in rollout.jumps],
        "gains": rollout.gains.nanmedian(1).values.tolist() if rollout.jumps else [],
        "gain": float(rollout.gains.nanmedian()) if rollout.jumps else None,
        "change": float(changes.max()) if len(changes) else None,
        "size": float(rollout.sizes.nanmedian()) if rollout.jumps else None,
        "rate": rollout.mean_rate if len(known) else None,
        "on_bound": float((known > 0.9 * PUBLISHED_BOUND).double().mean()) if len(known) else None,
    }


PUBLISHED_BOUND = Design.published("lr").rate


def marks(settings: Learned, steps: int) -> list[int]:
    """The steps at which losses are kept, up to a number of steps: closer together at the start."""
    last = settings.horizon * settings.times
    spaced = np.unique(np.geomspace(1, last, 60).round().astype(int)).tolist()
    wanted = {0, *spaced, settings.horizon, last}
    return sorted(s for s in wanted if s <= steps)


# --- all of them ---


def compete(settings: Learned, each: Each, variants: Sequence[str]) -> dict[str, Any]:
    """Both designs of every variant, gradient descent at the papers' rate, and the tuned baselines."""
    cases = [
        {"kind": kind, "variant": v, "seed": s}
        for kind in ("ours", "published")
        for v in variants
        for s in range(settings.seeds)
    ]
    learned: dict[str, list[Any]] = {}
    for case, run in zip(cases, each(train, cases), strict=True):
        learned.setdefault(f"{case['kind']} {case['variant']}", []).append(run)
    (literal,) = each(train, [{"kind": "literal", "variant": "lr,tele", "seed": 0}])
    names = [name for name in BASELINES if name != "gd-teleport"]
    tries = [{"name": name, "start": start} for name in names for start in STARTS]
    swept = each(tuned, tries)
    best = {
        name: min((swept[i] for i, c in enumerate(tries) if c["name"] == name), key=_score) for name in names
    }
    # With teleports a sweep costs a hundred times as much: it starts where gradient descent is better off.
    (best["gd-teleport"],) = each(tuned, [{"name": "gd-teleport", "start": best["gd"]["start"]}])
    at_rate = [
        {"rate": settings.gd_rate, "start": STARTS[0]},
        {"rate": PUBLISHED_BOUND, "start": STARTS[1]},
    ]
    shared, bound = each(plain, at_rate)
    return {
        "horizon": settings.horizon,
        "times": settings.times,
        "marks": marks(settings, settings.horizon * settings.times),
        "variants": list(variants),
        "learned": learned,
        "literal": literal,
        "baselines": best,
        "gd": shared,
        "bound": bound,
    }


def _score(found: Mapping[str, Any]) -> float:
    return float("inf") if found["score"] is None else found["score"]


# --- the verdict ---

NOTHING = 1.1
"""A gain of the gradient norm below this is that of a teleport to nowhere."""

KEPT = 1e-8
"""Largest relative change of the loss that counts as none."""

KINDS = ("published", "ours")


def judge_learned(results: dict[str, Any], main: str, rivals: Sequence[str]) -> list[Finding]:
    """The papers' claims about the design of the papers and about ours; then what they do not ask.

    Args:
        results: Of `compete`.
        main: The variant that is claimed to be best.
        rivals: The others.
    """
    horizon, long = results["horizon"], results["horizon"] * results["times"]
    claims, controls = [], []
    for kind in KINDS:
        ours = f"{kind} {main}"
        for other in [*(f"{kind} {rival}" for rival in rivals), "GD"]:
            claims.append(_finding_lower(results, ours, other, horizon))
            if kind == "ours":
                controls.append(_finding_lower(results, ours, other, long, "control"))
        for name in results["learned"][ours][0]["ablations"]:
            controls.append(_finding_lower(results, ours, f"{ours}, {name}", horizon, "control"))
    for name in results["baselines"]:
        controls += [
            _finding_lower(results, f"ours {main}", f"tuned {name}", at, "control") for at in (horizon, long)
        ]
    for name, runs in results["learned"].items():
        controls.append(_finding_converges(results, name, runs))
        if "tele" in name:
            controls += [_finding_gain(name, runs), _finding_invariance(name, runs)]
    return [*claims, *controls, *_finding_bound(results), _finding_literal(results)]


def losses_of(results: Mapping[str, Any], name: str) -> list[list[list[float | None]]]:
    """Losses (seed, task, mark) of a contender: GD, "tuned" and a baseline, a design, or a design and its ablation."""
    if name == "GD":
        return [run["losses"] for run in results["gd"]["runs"]]
    if name == "bound":
        return [run["losses"] for run in results["bound"]["runs"]]
    if name.startswith("tuned "):
        return [run["losses"] for run in results["baselines"][name.removeprefix("tuned ")]["runs"]]
    design, _, ablation = name.partition(", ")
    runs = results["learned"][design]
    return [run["ablations"].get(ablation, [[None]]) if ablation else run["losses"] for run in runs]


def middles(results: Mapping[str, Any], name: str) -> list[list[float | None]]:
    """The median over the tasks, (seed, mark); None where half of them have diverged."""
    return [[_median(at) for at in zip(*tasks, strict=True)] for tasks in losses_of(results, name)]


def _median(values: Sequence[float | None]) -> float | None:
    found = float(np.median([np.inf if v is None else v for v in values]))
    return found if isfinite(found) else None


def _at(results: Mapping[str, Any], losses: Sequence[float | None], step: int) -> float | None:
    i = results["marks"].index(step)
    return losses[i] if i < len(losses) else None


def _finding_lower(
    results: Mapping[str, Any], ours: str, theirs: str, step: int, kind: Any = "paper"
) -> Finding:
    a, b = ([_at(results, m, step) for m in middles(results, name)] for name in (ours, theirs))
    levels = " against ".join(_finding_level(_median(values)) for values in (a, b))
    return Finding(
        f"{_finding_name(results, ours)} is lower than {_finding_name(results, theirs)} after {step} steps",
        compare(a, b).lower,
        f"median loss {levels}; {compare(a, b)}",
        kind,
    )


def _finding_level(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _finding_name(results: Mapping[str, Any], name: str) -> str:
    if name == "GD":
        return f"GD at {results['gd']['rate']:g}"
    if name == "bound":
        return f"GD at {results['bound']['rate']:g} after a small first step"
    if name.startswith("tuned "):
        baseline = results["baselines"][name.removeprefix("tuned ")]
        return f"{name.removeprefix('tuned ')} at its best rate {baseline['rate']:g} ({baseline['start']})"
    design, _, ablation = name.partition(", ")
    return f"{design} with {ablation}" if ablation else name


def _finding_converges(results: Mapping[str, Any], name: str, runs: Sequence[Mapping[str, Any]]) -> Finding:
    """Ours for ten times the horizon, in every seed and task; the published ones for the horizon."""
    horizon, ours = results["horizon"], name.startswith("ours")
    first, last = (horizon, horizon * results["times"]) if ours else (max(horizon // 10, 1), horizon)
    marks = results["marks"]
    first = max(m for m in marks if m <= first)
    falls, of, levels = 0, 0, []
    for run in runs:
        for task in run["losses"]:
            before, after = _at(results, task, first), _at(results, task, last)
            falls += after is not None and before is not None and after < before
            of += 1
        levels.append(_median([_at(results, task, last) for task in run["losses"]]))
    failed = [run["failure"] for run in runs if run["failure"]]
    evidence = f"lower than after {first} steps in {falls} of {of} runs; median of each seed: "
    evidence += ", ".join(map(_finding_level, levels))
    if failed:
        evidence += f"; training was given up in {len(failed)} of {len(runs)} seeds"
    return Finding(
        f"{name} converges on unseen tasks, up to step {last}",
        falls == of and not failed,
        evidence,
        "control",
    )


def _finding_gain(name: str, runs: Sequence[Mapping[str, Any]]) -> Finding:
    gains, sizes = ([run[key] for run in runs] for key in ("gain", "size"))
    raised = [g is not None and g > NOTHING for g in gains]
    outcome = True if all(raised) else None if any(raised) else False
    evidence = f"norm after / before, median of each seed: {', '.join(map(_finding_level, gains))}; "
    evidence += f"norm of log g: {', '.join(map(_finding_level, sizes))}"
    return Finding(f"the teleports of {name} raise the gradient norm", outcome, evidence, "control")


def _finding_invariance(name: str, runs: Sequence[Mapping[str, Any]]) -> Finding:
    changes = [run["change"] for run in runs]
    holds = all(c is not None and c <= KEPT for c in changes)
    evidence = f"largest relative change, of each seed: {', '.join(map(_finding_level, changes))}"
    return Finding(f"the teleports of {name} leave the loss unchanged", holds, evidence, "control")


def _finding_bound(results: Mapping[str, Any]) -> list[Finding]:
    name = "published lr,tele"
    if name not in results["learned"]:
        return []
    shares = [run["on_bound"] for run in results["learned"][name]]
    on = [s is not None and s > 0.9 for s in shares]
    told = ", ".join("unknown" if s is None else f"{s:.0%}" for s in shares)
    return [
        Finding(
            f"the learning rate of {name} lies below its bound",
            False if all(on) else None if any(on) else True,
            f"steps at more than 0.9 of the bound {results['bound']['rate']:g}, of each seed: {told}",
            "control",
        ),
        _finding_lower(results, name, "bound", results["horizon"], "control"),
    ]


def _finding_literal(results: Mapping[str, Any]) -> Finding:
    run = results["literal"]
    known = [v for v in run["history"] if v is not None]
    evidence = f"{len(known)} of {len(run['history'])} trajectories finite"
    return Finding(
        "lr,tele can be trained with no bound on the elements and no smaller first step",
        run["failure"] is None and bool(known),
        evidence,
        "control",
    )


# --- the figure ---

SHORT = {"gd": "GD", "momentum": "momentum", "adam": "Adam", "gd-teleport": "GD with teleports"}


def plot_learned(results: dict[str, Any], main: str):
    """Curves at both horizons, ablations, what the teleports did, and the training."""
    figure, axes = canvas(2, 3, width=4.6, height=3.7)
    horizon = results["horizon"]
    published, ours = ([f"{kind} {v}" for v in results["variants"]] for kind in KINDS)
    tuned_names = [f"tuned {name}" for name in results["baselines"]]
    _panel_losses(axes[0][0], results, [*published, "GD"], horizon)
    axes[0][0].set_title("(a) as published, unseen tasks")
    _panel_losses(axes[0][1], results, [*ours, *tuned_names], horizon)
    axes[0][1].set_title("(b) ours, and baselines at their best rates")
    _panel_losses(axes[0][2], results, [*ours, *tuned_names], horizon * results["times"])
    axes[0][2].axvline(horizon, color="#777777", linewidth=0.8, linestyle=":")
    logarithmic(axes[0][2], x=True)
    axes[0][2].set_title(f"(c) {results['times']} times as long as trained for")
    _panel_ablations(axes[1][0], results, main)
    _panel_gains(axes[1][1], results)
    _panel_training(axes[1][2], results)
    return figure


def _panel_color(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A colour per variant and baseline, the same in all panels."""
    if name == "GD":
        return {"color": "#333333", "linestyle": "--", "linewidth": 1.1}
    if name.startswith("tuned "):
        i = len(results["variants"]) + list(results["baselines"]).index(name.removeprefix("tuned "))
        return {"color": color(i), "linestyle": "--", "linewidth": 1.1}
    return {"color": color(results["variants"].index(name.split()[1])), "linewidth": 1.7}


def _panel_label(results: Mapping[str, Any], name: str) -> str:
    if name == "GD":
        return f"GD at {results['gd']['rate']:g}"
    if name.startswith("tuned "):
        return SHORT[name.removeprefix("tuned ")]
    return name.split()[1]


def _panel_losses(axis, results: Mapping[str, Any], names: Sequence[str], last: int) -> None:
    """Medians over the tasks: line and band are the median and the range of the seeds."""
    marks = [m for m in results["marks"] if m <= last]
    shown = []
    for name in names:
        runs = [run[: len(marks)] for run in middles(results, name)]
        curve(axis, marks, runs, _panel_label(results, name), 0, **_panel_color(results, name))
        shown += runs
    _panel_frame(axis, results, marks, shown)


def _panel_frame(axis, results: Mapping[str, Any], marks: Sequence[int], runs: Sequence[Any]) -> None:
    """From the lowest loss to the highest after a tenth of the horizon; to where all began if something diverges."""
    tenth = marks.index(max(m for m in marks if m <= max(results["horizon"] // 10, 1)))
    early = [run[tenth] if tenth < len(run) else None for run in runs]
    ends = [run[-1] if len(run) == len(marks) else None for run in runs]
    fall = all(a is not None and b is not None and b < a for a, b in zip(early, ends, strict=True))
    top = [run[0] for run in runs if run[0]] if not fall else [v for v in early if v]
    lowest = min((v for run in runs for v in run if v), default=1.0)
    logarithmic(axis, y=True)
    axis.set(
        xlabel="step", ylabel="loss, median over the tasks", ylim=(lowest / 2, 5 * max(top, default=1.0))
    )
    legend(axis, loc="best")


def _panel_ablations(axis, results: Mapping[str, Any], main: str) -> None:
    marks = [m for m in results["marks"] if m <= results["horizon"]]
    shown = []
    for kind, style in zip(KINDS, (":", "-"), strict=True):
        names = [f"{kind} {main}"]
        names += [f"{names[0]}, {ablation}" for ablation in results["learned"][names[0]][0]["ablations"]]
        for i, name in enumerate(names):
            runs = [run[: len(marks)] for run in middles(results, name)]
            label = f"{kind}, {name.partition(', ')[2] or main}"
            curve(axis, marks, runs, label, i, linestyle=style)
            shown += runs
    _panel_frame(axis, results, marks, shown)
    axis.set_title(f"(d) ablations of {main}")


def _panel_gains(axis, results: Mapping[str, Any]) -> None:
    """Every teleport's gain, a marker per seed."""
    for kind, marker in zip(KINDS, (".", "o"), strict=True):
        for variant in (v for v in results["variants"] if "tele" in v):
            runs = results["learned"][f"{kind} {variant}"]
            points = [(s + 1, g) for r in runs for s, g in zip(r["jumps"], r["gains"], strict=True) if g]
            shown = [(s, g) for s, g in points if 1e-3 < g < 1e3 and s <= results["horizon"]]
            x, y = zip(*shown, strict=True) if shown else ((), ())
            i = results["variants"].index(variant)
            size = 3 if kind == "published" else 6
            axis.plot(
                x, y, marker, color=color(i), markersize=size, alpha=0.7, label=f"{kind} {variant}", zorder=3
            )
    logarithmic(axis, x=True, y=True)
    axis.axhline(1.0, color="#777777", linewidth=0.8, linestyle=":")
    axis.set(
        xlabel="step of the teleport, from 1",
        ylabel="gradient norm after / before",
        title="(e) gain of the learned teleports",
    )
    legend(axis, loc="best")


def _panel_training(axis, results: Mapping[str, Any]) -> None:
    for kind, style in zip(KINDS, (":", "-"), strict=True):
        for i, variant in enumerate(results["variants"]):
            for j, run in enumerate(results["learned"][f"{kind} {variant}"]):
                told = [
                    (run["batch"] * (k + 1), np.exp(v) if kind == "ours" else v)
                    for k, v in enumerate(run["history"])
                    if v is not None and (kind == "ours" or v < BEYOND)
                ]
                if told:
                    label = None if j else f"{kind} {variant}"
                    x, y = zip(*told, strict=True)
                    axis.plot(x, y, linestyle=style, linewidth=1.2, color=color(i), label=label)
    logarithmic(axis, x=True, y=True)
    axis.set(
        xlabel="trajectories trained on",
        ylabel="mean loss along a run (ours: geometric)",
        title="(f) training, a line per seed",
    )
    legend(axis, loc="best")
