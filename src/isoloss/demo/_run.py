"""The demo: sweep, train, judge, draw."""

import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import isoloss
from isoloss._files import write_json
from isoloss.demo._contenders import CONTENDERS, Contender
from isoloss.demo._figure import save_figure
from isoloss.demo._runs import Progress, Runs
from isoloss.demo._scenes import Scene, change, scenes
from isoloss.demo._setup import Setup
from isoloss.demo._sweep import ranked, sweep
from isoloss.demo._train import finite
from isoloss.demo._verdict import judge
from isoloss.problems import Data

TOLERANCE = 1e-10
"""Relative change of the outputs, in float64, that counts as unchanged: the bound of the finder's check."""

SELECTION = "for every contender and seed the learning rate with the lowest final training loss in its sweep"


def run(setup: Setup, progress: Progress | None = None) -> dict[str, Any]:
    """Train every contender in every scene and write figure.png and results.json.

    Runs that an earlier, interrupted call finished are read, not repeated.

    Args:
        setup: From `prepare`.
        progress: Called before every run.

    Returns:
        What results.json holds.

    Raises:
        RuntimeError: If rescaling along the symmetries changed the network's function.
    """
    settings = setup.settings
    runs = Runs(setup, progress or (lambda done, total, text: None))
    with _threads(settings.threads):
        starts = scenes(setup.symmetries, settings.sigma)
        found = {scene.name: _scene(scene, setup, runs) for scene in starts}
    results = {
        "settings": asdict(settings) | {"out": str(settings.out)},
        "versions": _versions(),
        "data": _describe(setup.data),
        "symmetries": {
            "found": [
                {"group": s.name, "dim": s.dim, "family": s.family, "exact": s.exact}
                for s in setup.symmetries
            ],
            "continuous_dimension": setup.symmetries.dim,
            "seconds": setup.seconds,
        },
        "selection": SELECTION,
        "scenes": found,
    }
    write_json(settings.out / "results.json", results)
    save_figure(results, settings.out / "figure.png")
    return results


def _scene(scene: Scene, setup: Setup, runs: Runs) -> dict[str, Any]:
    seeds = range(setup.settings.seeds)
    changes = [_change(scene, setup, seed) for seed in seeds] if scene.sigma else [0.0]
    sweeps = {c: [_tune(scene, c, seed, runs) for seed in seeds] for c in CONTENDERS}
    reported: dict[str, list[dict[str, Any]]] = {c.name: [] for c in CONTENDERS}
    # Contenders take turns, so that a machine that slows down slows them all.
    for seed in seeds:
        for c in CONTENDERS:
            rate = ranked(sweeps[c][seed])[0]
            reported[c.name].append(runs.get(scene, c, rate, seed, on_the_way=True))
    return {
        "title": scene.title,
        "largest_change_of_outputs": max(changes),
        "contenders": {
            c.name: {
                "sweep": [
                    {"seed": seed, "learning_rate": rate, "training_loss": finite(loss)}
                    for seed in seeds
                    for rate, loss in sweeps[c][seed].items()
                ],
                "runs": reported[c.name],
            }
            for c in CONTENDERS
        },
        "verdicts": [asdict(verdict) | {"change": finite(verdict.change)} for verdict in judge(reported)],
    }


def _tune(scene: Scene, contender: Contender, seed: int, runs: Runs) -> dict[float, float]:
    """Every seed is tuned on its own, so that nobody has to live with a rate that suits another seed."""

    def loss(rate: float) -> float:
        final = runs.get(scene, contender, rate, seed)["training_loss"][-1]
        return math.inf if final is None else final

    return sweep(loss, contender.rates)


def _change(scene: Scene, setup: Setup, seed: int) -> float:
    model = setup.fresh_model(seed).cpu()
    changed = change(scene, model, setup.symmetries, seed, setup.data.x_validation.cpu())
    if not changed <= TOLERANCE:
        raise RuntimeError(
            "demo: rescaling along a symmetry must not change the function; the outputs changed by "
            f"{changed:.1e} (seed {seed}); this is a bug in a symmetry, please report it."
        )
    return changed


def _describe(data: Data) -> dict[str, Any]:
    return {
        "name": data.name,
        "image": list(data.shape),
        "classes": data.classes,
        "training": len(data.y),
        "validation": len(data.y_validation),
    }


def _versions() -> dict[str, Any]:
    return {
        "isoloss": isoloss.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
