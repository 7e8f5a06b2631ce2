"""Who is put to the test: the learned optimizer, what is left of it without a part, and what learns nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss.learn._evaluate import evaluate
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._rollout import Rollout
from isoloss.learn.baselines import BASELINES, TELEPORTS, GradientDescentTeleport, tune
from isoloss.learn.tasks import Draw
from isoloss.learn.trial._settings import Settings

TEST_SEED, TUNING_SEED, BATCH_SEED = 8_000_009, 9_000_011, 10_000_019
"""Of the unseen tasks, of those that choose learning rates, and of minibatches: none is a stream of the training."""
POINTS = 160
"""Most steps of a run whose losses are kept: all at first, then at equal ratios."""

Run = dict[str, Any]
Runs = Mapping[str, Run]


@dataclass(frozen=True, eq=False)
class Test:
    """A trained meta-optimizer, and the tasks that it and the others are tested on.

    Attributes:
        settings: Of the trial.
        meta: The meta-optimizer.
        shown: The unseen tasks.
        tuning: Others, which choose the learning rates of the baselines.
    """

    __test__ = False  # for pytest, which takes a class of this name for one of its own

    settings: Settings
    meta: MetaOptimizer
    shown: Draw
    tuning: Draw

    @classmethod
    def of(cls, settings: Settings, meta: MetaOptimizer) -> "Test":
        """Draw the tasks."""
        shown, tuning = (
            settings.unseen.draw(
                settings.test_tasks, torch.Generator().manual_seed(seed + settings.recipe.seed)
            )
            for seed in (TEST_SEED, TUNING_SEED)
        )
        return cls(settings, meta, shown, tuning)

    def learned(self, others: Runs) -> Run:
        """The meta-optimizer as it is."""
        return self._told(self._evaluated())

    def identity(self, others: Runs) -> Run:
        """Without its teleports."""
        return self._told(self._evaluated(ablate="identity"))

    def mean_rate(self, others: Runs) -> Run:
        """With gradient descent at its mean learning rate in the place of its local update."""
        rate = others["learned"]["mean_rate"]
        return self._told(self._evaluated(ablate="mean-rate", rate=rate), rate)

    def baseline(self, name: str) -> Run:
        """A baseline at the learning rate, and for teleports the settings, that suit the tuning tasks best."""
        kind = BASELINES[name]
        candidates = TELEPORTS if kind is GradientDescentTeleport else (kind(),)
        tasks, steps = self.settings.unseen, self.settings.steps
        found = tune(candidates, tasks, self.tuning, steps, generator=_batches())
        swept = [
            {"rate": rate, "score": _number(score)}
            for rate, score in zip(found.rates, found.scores, strict=True)
        ]
        rollout = found.baseline.run(tasks, self.shown, steps, found.best, _batches())
        return self._told(rollout, found.best) | {"baseline": repr(found.baseline), "sweep": swept}

    def contenders(self) -> dict[str, Callable[[Runs], Run]]:
        """By name what runs it, given the runs of those before it."""
        chosen: dict[str, Callable[[Runs], Run]] = {"learned": self.learned}
        if "tele" in self.settings.design.variant:
            chosen["identity"] = self.identity
        chosen["mean-rate"] = self.mean_rate
        for name, kind in BASELINES.items():
            if kind is not GradientDescentTeleport or self.settings.tasks.actions:
                chosen[name] = lambda others, name=name: self.baseline(name)
        return chosen

    def _evaluated(self, **ablation: Any) -> Rollout:
        s = self.settings
        return evaluate(self.meta, s.unseen, self.shown, s.steps, generator=_batches(), **ablation)

    def _told(self, rollout: Rollout, rate: float | None = None) -> Run:
        """The run as JSON has it: by task the losses at some of the steps, None where it had diverged."""
        steps, jumps = kept(self.settings.steps), rollout.jumps
        shown = [jumps[i] for i in kept(len(jumps) - 1)] if jumps else []
        rows = [jumps.index(step) for step in shown]
        return {
            "rate": rate,
            "mean_rate": _number(rollout.mean_rate),
            "steps": steps,
            "losses": numbers(rollout.losses[steps].T),
            "jumps": shown,
            "gains": numbers(rollout.gains[rows]),
            "changes": numbers(rollout.changes[rows]),
            "sizes": numbers(rollout.sizes[rows]),
        }


def kept(last: int) -> list[int]:
    """At most `POINTS` of the numbers from 0 to the last one: both of these, all small ones, others ever sparser."""
    near = POINTS // 4
    if last <= POINTS:
        return list(range(last + 1))
    ratio = (last / near) ** (1 / (POINTS - near - 1))
    return sorted({*range(near), *(round(near * ratio**i) for i in range(POINTS - near)), last})


def numbers(values: Tensor) -> list[Any]:
    """Nested lists, with None for what is not finite."""
    if values.dim() > 1:
        return [numbers(row) for row in values]
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _batches() -> torch.Generator:
    """Of minibatches: everybody sees the same."""
    return torch.Generator().manual_seed(BATCH_SEED)
