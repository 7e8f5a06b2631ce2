"""One training run of the demo, trained now or read from an earlier call."""

import math
from collections.abc import Callable
from typing import Any

import torch

from isoloss._store import Store, source
from isoloss.demo._contenders import CONTENDERS, Contender
from isoloss.demo._scenes import Scene, scenes
from isoloss.demo._setup import Setup
from isoloss.demo._train import train

Progress = Callable[[int, int, str], None]
"""Called with the runs finished, the runs expected in all and what is being trained."""

READERS = ("reproduce", *(f"demo/{name}" for name in ("_figure.py", "_verdict.py", "_report.py")))
"""Source that only reads finished runs or prints them, or that the demo does not use."""

EVALUATIONS_PER_EPOCH = 4
USUAL_SWEEP = 9
"""Rates that a sweep usually tries; the progress bar corrects itself if there are more."""


class Runs:
    """The runs of one demo, and how far it is.

    Args:
        setup: Data, network and symmetries.
        progress: Told before every run.
    """

    def __init__(self, setup: Setup, progress: Progress):
        self.setup, self.progress, self.done = setup, progress, 0
        s = setup.settings
        self.per_epoch = math.ceil(len(setup.data.y) / s.batch)
        training = ("model", "width", "epochs", "batch", "radius", "teleports", "device", "threads")
        context = {name: getattr(s, name) for name in training} | {"data": setup.data.fingerprint}
        self.store = Store(s.out / "runs", context, source(*READERS))
        if s.fresh:
            self.store.clear()
        starts = len(scenes(setup.symmetries, s.sigma))
        self.expected = starts * len(CONTENDERS) * s.seeds * (USUAL_SWEEP + 1)

    def get(
        self, scene: Scene, contender: Contender, rate: float, seed: int, *, on_the_way: bool = False
    ) -> dict[str, Any]:
        """The run, evaluated at the end only or also on the way there."""
        key = {
            "sigma": scene.sigma,
            "contender": contender.name,
            "rate": rate,
            "seed": seed,
            "all": on_the_way,
        }
        self.progress(
            self.done, max(self.expected, self.done + 1), f"{scene.name}: {contender.name}, seed {seed}"
        )
        history = self.store.get(key, lambda: self._train(scene, contender, rate, seed, on_the_way))
        self.done += 1
        return {"seed": seed, "learning_rate": rate} | history

    def _train(
        self, scene: Scene, contender: Contender, rate: float, seed: int, on_the_way: bool
    ) -> dict[str, Any]:
        setup, s = self.setup, self.setup.settings
        model = setup.fresh_model(seed)
        scene.prepare_(model, setup.symmetries, seed)
        jumps_at = contender.jumps_at(s.teleports, self.per_epoch)
        optimizer, teleport = contender.equip(
            model, setup.symmetries, rate=rate, radius=s.radius, jumps_at=jumps_at
        )
        steps, points = self.per_epoch * s.epochs, EVALUATIONS_PER_EPOCH * s.epochs
        regular = frozenset(i * steps // points for i in range(points))
        return train(
            model,
            setup.data,
            optimizer,
            teleport,
            epochs=s.epochs,
            batch=s.batch,
            generator=torch.Generator().manual_seed(seed),
            evaluate_at=regular | jumps_at if on_the_way else frozenset(),
        )
