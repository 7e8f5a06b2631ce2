"""Training a meta-optimizer on a distribution of tasks."""

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss._files import make_folder
from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._save import describe, words
from isoloss.learn._unroll import Loop, Point
from isoloss.learn.tasks import Draw, Tasks, check_tasks
from isoloss.learn.training import _progress
from isoloss.learn.training._estimate import backprop, evolution
from isoloss.learn.training._objective import objective
from isoloss.learn.training._progress import Progress, RunRecord
from isoloss.learn.training._recipe import Recipe

Watch = Callable[[RunRecord], None]
VALIDATION_SEED = 7_000_003
"""Of the validation tasks; training draws from another stream."""


class DivergenceError(RuntimeError):
    """Training failed too often in a row."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained meta-optimizer.

    Attributes:
        meta: With the parameters of the best validation, which may be those before training. Of the last run, if
            there was no validation.
        history: What became of every run.
        validation: The meta-loss on the validation tasks, None if there was none.
        trajectories: Optimizees trained on.
    """

    meta: MetaOptimizer
    history: list[RunRecord]
    validation: float | None
    trajectories: int

    @property
    def untrained(self) -> bool:
        """Are the parameters those before training, since no run lowered the validation?"""
        return self.validation is not None and self.validation not in [r.validation for r in self.history]


def meta_train(
    meta: MetaOptimizer,
    tasks: Tasks,
    recipe: Recipe | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    save_every: int = 5,
    watch: Watch | None = None,
) -> Trained:
    """Train a meta-optimizer, in place: Algorithm 1 of the 2025 paper on batches of tasks.

    Each run draws new tasks, walks the horizon in stretches, and updates the meta-optimizer after each of them by Adam.
    A meta-gradient that is not finite is left out, a run whose losses are not finite is given up; too many of either
    in a row end the training. Interrupted and resumed, it comes to the same bits.

    Args:
        meta: What is trained.
        tasks: What it is trained on.
        recipe: How; `Recipe()` if None.
        out: Folder of the checkpoint; None keeps none.
        resume: Continue from the checkpoint in the folder, if there is one.
        save_every: Runs between two checkpoints.
        watch: Told after every run.

    Raises:
        DivergenceError: If training failed too often in a row; the last good checkpoint stays.
        ValueError: If the tasks cannot be trained on, or the checkpoint belongs to another training, or losses turn
            negative whose logarithm is minimized.

    References:
        2025 paper, Algorithm 1; dissertation, Algorithm 3.
    """
    recipe = recipe or Recipe()
    if not is_whole(save_every, least=1):
        raise ValueError(f"meta_train: save_every must be a whole number of at least 1; got {save_every!r}.")
    _check(meta, tasks, recipe)
    adam = _adam(meta, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    context = {**describe(meta), "recipe": words(asdict(recipe)), "tasks": named(tasks)}
    folder = None if out is None else make_folder(out, "meta_train")
    found = _progress.load(folder, meta, adam, generator, context) if folder is not None and resume else None
    progress, validation = found or Progress(), _validation(tasks, recipe)
    if found is None and validation is not None:
        _kept_if_best(meta, tasks, recipe, validation, progress)
    if folder is not None and found is None:
        # Who is interrupted before the next one comes back to the same first parameters.
        _progress.save(folder, meta, adam, generator, progress, context)
    while len(progress.history) < recipe.runs:
        record = _run(meta, tasks, recipe, adam, generator, progress, validation)
        progress.history.append(record)
        if watch is not None:
            watch(record)
        if progress.longest >= recipe.patience:
            raise DivergenceError(_failed(record, recipe, folder))
        done = len(progress.history)
        # A checkpoint of a failing training would replace the last good one.
        if folder is not None and not progress.longest and (done % save_every == 0 or done == recipe.runs):
            _progress.save(folder, meta, adam, generator, progress, context)
    if progress.best is not None:
        _copy(meta, progress.best)
    return Trained(meta, progress.history, progress.best_validation, recipe.runs * recipe.batch)


def _run(
    meta: MetaOptimizer,
    tasks: Tasks,
    recipe: Recipe,
    adam: torch.optim.Adam,
    generator: torch.Generator,
    progress: Progress,
    validation: Draw | None,
) -> RunRecord:
    run = len(progress.history)
    _anneal(adam, recipe, run)
    drawn = tasks.draw(recipe.batch, generator)
    loop = Loop(
        meta,
        tasks,
        Layout.of(drawn.parameters),
        second_order=recipe.second_order,
        limit=recipe.limit / recipe.batch if recipe.estimator == "backprop" else math.inf,
    )
    point, unroll = loop.begin(drawn.parameters), recipe.unroll_in(run)
    first = loop.losses(point.weights, drawn.data)
    told: list[float] = []
    largest, skipped, done = 0.0, 0, 0
    while done < recipe.horizon:
        steps = min(unroll, recipe.horizon - done)
        batches = [tasks.minibatch(drawn.data, generator) for _ in range(steps)]
        adam.zero_grad()
        losses, point = _stretch(loop, recipe, point, batches, first, generator)
        if not _finite(losses, point):
            progress.failures += 1
            return RunRecord(run, None, None, largest, skipped)
        norm = float(nn.utils.clip_grad_norm_(meta.parameters(), recipe.clip))
        if math.isfinite(norm):
            adam.step()
            progress.skips = 0
            largest = max(largest, norm)
        else:
            skipped += 1
            progress.skips += 1
        told.append(float(losses.mean()))
        done += steps
    progress.failures = 0
    final = loop.losses(point.weights, drawn.data)
    _check_sign(tasks, recipe, final)
    measured = None
    if (
        validation is not None
        and recipe.validate
        and ((run + 1) % recipe.validate == 0 or run + 1 == recipe.runs)
    ):
        measured = _kept_if_best(meta, tasks, recipe, validation, progress)
    return RunRecord(run, sum(told) / len(told), float(final.median()), largest, skipped, measured)


def _kept_if_best(
    meta: MetaOptimizer, tasks: Tasks, recipe: Recipe, validation: Draw, progress: Progress
) -> float | None:
    measured = validate(meta, tasks, recipe, validation)
    if measured is not None and (progress.best_validation is None or measured < progress.best_validation):
        progress.best_validation = measured
        progress.best = {name: p.detach().clone() for name, p in meta.named_parameters()}
    return measured


def _stretch(
    loop: Loop, recipe: Recipe, point: Point, batches, first: Tensor, generator
) -> tuple[Tensor, Point]:
    if recipe.estimator == "evolution":
        return evolution(loop, recipe, point, batches, first, generator)
    return backprop(loop, recipe, point, batches, first)


@torch.no_grad()
def validate(meta: MetaOptimizer, tasks: Tasks, recipe: Recipe, drawn: Draw) -> float | None:
    """The meta-loss over a whole horizon, mean over the tasks; None if one diverges."""
    loop = Loop(meta, tasks, Layout.of(drawn.parameters))
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    batches = [tasks.minibatch(drawn.data, generator) for _ in range(recipe.horizon)]
    begun = loop.begin(drawn.parameters)
    first = loop.losses(begun.weights, drawn.data)
    losses = objective(loop.run(begun, batches).losses, recipe.weights, recipe.objective, first)
    return float(losses.mean()) if losses.isfinite().all() else None


def _validation(tasks: Tasks, recipe: Recipe) -> Draw | None:
    if not recipe.validate:
        return None
    return tasks.draw(recipe.validation, torch.Generator().manual_seed(VALIDATION_SEED + recipe.seed))


def _check(meta: MetaOptimizer, tasks: Tasks, recipe: Recipe) -> None:
    check_tasks(tasks, recipe.batch)
    if "tele" in meta.design.variant and not tasks.actions:
        raise ValueError(
            f"meta_train: tele needs tasks with an action; {tasks.name} has none; leave tele out of the variant."
        )
    drawn = tasks.draw(recipe.batch, torch.Generator().manual_seed(recipe.seed))
    loop = Loop(meta, tasks, Layout.of(drawn.parameters))
    losses = loop.losses(loop.begin(drawn.parameters).weights, drawn.data)
    _check_sign(tasks, recipe, losses)


def _check_sign(tasks: Tasks, recipe: Recipe, losses: Tensor) -> None:
    if recipe.objective == "log" and (losses < 0).any():
        raise ValueError(
            f"meta_train: the logarithm needs losses that are not negative; got {losses.min():.4g} on {tasks.name}; "
            "choose objective='value'."
        )


def named(tasks: Tasks) -> str:
    """What the tasks are; where objects lie in memory is not part of it."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(tasks))


def _adam(meta: MetaOptimizer, recipe: Recipe) -> torch.optim.Adam:
    factors = dict(recipe.part_lr)
    groups = [
        {"params": list(meta.part(name).parameters()), "lr": 0.0, "factor": factors.get(name, 1.0)}
        for name in meta.design.variant
    ]
    return torch.optim.Adam(groups, lr=recipe.lr)


def _anneal(adam: torch.optim.Adam, recipe: Recipe, run: int) -> None:
    share = 0.01 + 0.99 * (1 + math.cos(math.pi * run / recipe.runs)) / 2
    for group in adam.param_groups:
        group["lr"] = recipe.lr * group["factor"] * share


def _finite(losses: Tensor, point: Point) -> bool:
    return bool(losses.isfinite().all() and point.weights.isfinite().all())


def _copy(meta: MetaOptimizer, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, p in meta.named_parameters():
            p.copy_(values[name])


def _failed(record: RunRecord, recipe: Recipe, folder: Path | None) -> str:
    where = "no checkpoint was asked for" if folder is None else f"the last good checkpoint is in {folder}"
    return (
        f"meta_train: losses or meta-gradients must be finite; {recipe.patience} runs or updates in a row "
        f"were not, up to run {record.run + 1} of {recipe.runs}; {where}; "
        "lower lr, radius or trust, or shorten the unroll."
    )
