"""Training, test, files; what is finished is not done again."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import isoloss
from isoloss._figure import matplotlib, save
from isoloss._files import make_folder, write_json
from isoloss._store import Store
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._save import save as save_optimizer
from isoloss.learn._save import words
from isoloss.learn.training import RunRecord, Trained, meta_train
from isoloss.learn.training._progress import CHECKPOINT
from isoloss.learn.training._train import named
from isoloss.learn.trial._contenders import Run, Test
from isoloss.learn.trial._figure import plot
from isoloss.learn.trial._settings import Settings
from isoloss.learn.trial._verdict import judge

OPTIMIZER = "optimizer"
"""Folder of the trained meta-optimizer, as `isoloss.learn.load` reads it."""

Watch = Callable[[RunRecord | str, int, int], None]
"""Told after every training run, and before every test: which, how many are done, and of how many."""


def trial(
    settings: Settings, out: str | Path, *, resume: bool = True, watch: Watch | None = None
) -> dict[str, Any]:
    """Train a meta-optimizer, test it on unseen tasks beside its ablations and the baselines, and write all of it.

    The folder gets results.json, figure.png, figure.svg and optimizer/, which `isoloss.learn.load` reads; besides, the
    checkpoint of the training and the finished tests in runs/, from which an interrupted call continues to the same
    results.

    Args:
        settings: What is trained, how, and on what it is tested.
        out: The folder.
        resume: Continue what the folder holds; else it is forgotten.
        watch: Told of the progress.

    Returns:
        What results.json holds.

    Raises:
        DivergenceError: If training failed too often in a row; the last good checkpoint stays.
        ValueError: If the tasks cannot be trained on, or the folder holds another training.
        OSError: If the folder cannot be made or written to.
        ImportError: If matplotlib is absent.
    """
    folder = prepare(out)
    told = watch or (lambda what, done, of: None)
    meta = _fresh(settings)
    if not resume:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    recipe = settings.recipe
    trained = meta_train(
        meta,
        settings.tasks,
        recipe,
        out=folder,
        save_every=1,
        watch=lambda record: told(record, record.run + 1, recipe.runs),
    )
    save_optimizer(meta, folder / OPTIMIZER, _info(settings, trained))
    store = Store(folder / "runs", _context(settings, meta))
    if not resume:
        store.clear()
    results = {
        "task": settings.tasks.name,
        "tasks": named(settings.tasks),
        "design": words(asdict(settings.design)),
        "recipe": words(asdict(recipe)),
        "test": {"tasks": settings.test_tasks, "steps": settings.steps},
        "history": [asdict(record) for record in trained.history],
        "validation": trained.validation,
        "untrained": trained.untrained,
        "trajectories": trained.trajectories,
        "contenders": _tested(settings, meta, store, told),
        "versions": {
            "isoloss": isoloss.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    results["verdicts"] = [asdict(verdict) for verdict in judge(results)]
    save(plot(results)[0], folder / "figure")
    write_json(folder / "results.json", results)
    return results


def prepare(out: str | Path) -> Path:
    """Make the folder, and notice before the training what would stop the figure.

    Raises:
        OSError: If the folder cannot be made or written to.
        ImportError: If matplotlib is absent.
    """
    matplotlib("learn")
    return make_folder(out, "learn")


def _info(settings: Settings, trained: Trained) -> dict[str, Any]:
    """What the optimizer was trained on."""
    return {
        "task": settings.tasks.name,
        "tasks": named(settings.tasks),
        "trajectories": trained.trajectories,
        "untrained": trained.untrained,
        "horizon": settings.recipe.horizon,
        "validation": trained.validation,
    }


def _fresh(settings: Settings) -> MetaOptimizer:
    """Drawn from the seed, without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.recipe.seed)
        return MetaOptimizer.of(settings.design, settings.tasks)


def _tested(
    settings: Settings, meta: MetaOptimizer, store: Store, told: Callable[[str, int, int], None]
) -> dict[str, Run]:
    test = Test.of(settings, meta)
    chosen, runs = test.contenders(), {}
    for i, (name, run) in enumerate(chosen.items()):
        told(name, i, len(chosen))
        runs[name] = store.get({"contender": name}, lambda run=run: run(runs))
    return runs


def _context(settings: Settings, meta: MetaOptimizer) -> dict[str, Any]:
    """All that a test depends on."""
    weights = hashlib.sha256()
    for value in meta.state_dict().values():
        weights.update(value.cpu().contiguous().numpy().tobytes())
    return {
        "tasks": named(settings.tasks),
        "test": [settings.test_tasks, settings.steps],
        "seed": settings.recipe.seed,
        "design": asdict(settings.design),
        "weights": weights.hexdigest(),
    }
