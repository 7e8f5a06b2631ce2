"""Every baseline at its own best learning rate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from isoloss import _sweep
from isoloss._checks import is_length
from isoloss.learn._rollout import Rollout
from isoloss.learn.baselines._baseline import Baseline
from isoloss.learn.tasks import Draw, Tasks

Score = Literal["final", "mean"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of every learning rate that was tried.

    Attributes:
        baseline: Whose learning rate it is.
        rates: In increasing order.
        scores: One per rate; the lowest is best.
        rollouts: One per rate, on the tasks of the sweep. Show those on others.
        best: The best rate; of equally good ones the lowest.
    """

    baseline: Baseline
    rates: tuple[float, ...]
    scores: tuple[float, ...]
    rollouts: tuple[Rollout, ...]
    best: float

    @property
    def score(self) -> float:
        """That of the best rate."""
        return min(self.scores)

    @property
    def at_edge(self) -> bool:
        """Is the best rate the lowest or highest of all tried? Then the search gave up, and a better one is beyond."""
        return self.best in (self.rates[0], self.rates[-1])


def sweep(
    baseline: Baseline,
    tasks: Tasks,
    draw: Draw,
    steps: int,
    *,
    rate: float = 1e-2,
    halves: Iterable[int] = range(-3, 4),
    refinements: int = 1,
    score: Score = "final",
    generator: torch.Generator | None = None,
) -> Sweep:
    """Search the best learning rate of a baseline: half decades, further while the best is at an edge, then closer.

    Tune on one draw and show another. All rates see the same minibatches, and those of one round are one batch.

    Args:
        baseline: Whose rate it is.
        tasks: What to optimize.
        draw: On which tasks.
        steps: Number of steps.
        rate: Around which the search begins.
        halves: The first rates, in half decades from there.
        refinements: How often to look closer around the best: a quarter decade away, an eighth, and so on.
        score: See `scored`.
        generator: Decides the minibatches.

    Raises:
        ValueError: If there are no steps, the rate is not positive, or the score is unknown.
    """
    if not (is_length(rate) and rate > 0):
        raise ValueError(f"sweep: the rate must be positive; got {rate!r}. The search begins around it.")
    _check(score)
    seed = int(torch.randint(2**62, (), generator=generator))

    def evaluate(pairs: Sequence[tuple[str, float]]) -> Sequence[Rollout]:
        rates = [r for _, r in pairs]
        return baseline.run(tasks, draw, steps, rates, torch.Generator().manual_seed(seed))

    found, best = _sweep.sweep(
        (baseline.name,), rate, evaluate, lambda rollout: scored(rollout.losses, score), halves, refinements
    )
    told = dict(sorted(found[baseline.name].items()))
    return Sweep(
        baseline,
        rates=tuple(told),
        scores=tuple(scored(rollout.losses, score) for rollout in told.values()),
        rollouts=tuple(told.values()),
        best=best[baseline.name],
    )


def tune(candidates: Iterable[Baseline], tasks: Tasks, draw: Draw, steps: int, **search: Any) -> Sweep:
    """Sweep baselines that differ in their settings; that of the best score, each at its best learning rate.

    Args:
        candidates: The settings; `TELEPORTS` are some of ordinary teleportation.
        tasks: What to optimize.
        draw: On which tasks.
        steps: Number of steps.
        search: As for `sweep`. All candidates see the same minibatches.

    Raises:
        ValueError: If there are no candidates; and as for `sweep`.
    """
    generator = search.pop("generator", None)
    seed = int(torch.randint(2**62, (), generator=generator))
    sweeps = [
        sweep(c, tasks, draw, steps, generator=torch.Generator().manual_seed(seed), **search)
        for c in candidates
    ]
    if not sweeps:
        raise ValueError("tune: there must be candidates; got none. Pass one or several baselines.")
    return min(sweeps, key=lambda found: found.score)


def scored(losses: Tensor, score: Score = "final") -> float:
    """How good runs are: the median over the tasks, of which those that diverged are the worst.

    Args:
        losses: (steps + 1, n).
        score: What is taken of each task: "final", the log of the last loss; "mean", the mean of the log along the run.

    Raises:
        ValueError: If the score is unknown.
    """
    _check(score)
    logs = torch.where(losses.isfinite(), losses.clamp_min(torch.finfo(losses.dtype).tiny).log(), torch.inf)
    of_tasks = (logs[-1] if score == "final" else logs.mean(0)).sort().values
    n = len(of_tasks)
    return float((of_tasks[(n - 1) // 2] + of_tasks[n // 2]) / 2)


def _check(score: str) -> None:
    if score not in ("final", "mean"):
        raise ValueError(f'sweep: the score must be "final" or "mean"; got {score!r}. Both are of the loss.')
