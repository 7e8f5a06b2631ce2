"""A trained meta-optimizer on tasks it has not seen."""

from typing import Literal

import torch
from torch import Tensor

from isoloss._checks import is_whole
from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer
from isoloss.learn._rollout import Rollout
from isoloss.learn._tensors import Tensors
from isoloss.learn._unroll import Loop
from isoloss.learn.tasks import Draw, Tasks

Ablation = Literal["identity", "mean-rate"]


@torch.no_grad()
def evaluate(
    meta: MetaOptimizer,
    tasks: Tasks,
    draw: Draw,
    steps: int,
    *,
    generator: torch.Generator | None = None,
    ablate: Ablation | None = None,
    rate: float | None = None,
) -> Rollout:
    """Train the optimizees of a draw by a meta-optimizer, without changing it.

    Args:
        meta: The meta-optimizer.
        tasks: What the draw is from.
        draw: The optimizees.
        steps: How many steps each takes.
        generator: Of minibatches; that of torch if None.
        ablate: "identity" leaves out the teleports; "mean-rate" replaces the local update by gradient descent.
        rate: Its learning rate: `Rollout.mean_rate` of the meta-optimizer itself, say.

    Raises:
        ValueError: If steps is less than 1, or the ablation is not known, or the rate is missing.
    """
    if not is_whole(steps, least=1):
        raise ValueError(f"evaluate: steps must be a whole number of at least 1; got {steps!r}.")
    if ablate not in (None, "identity", "mean-rate") or (ablate == "mean-rate") != (rate is not None):
        raise ValueError(
            f"evaluate: ablate is None, 'identity', or 'mean-rate' with a rate; got {ablate!r} and {rate!r}."
        )
    loop = Loop(
        meta, tasks, Layout.of(draw.parameters), record=True, identity=ablate == "identity", rate=rate
    )
    point = loop.begin(draw.parameters)
    losses = [loop.losses(point.weights, draw.data)]
    rates: list[Tensor] = []
    jumps = {}
    for stretch in _stretches([tasks.minibatch(draw.data, generator) for _ in range(steps)], draw.data):
        unrolled = loop.run(point, stretch)
        point = unrolled.end
        whole = stretch[-1] is draw.data
        losses += list(unrolled.losses) if whole else [loop.losses(point.weights, draw.data)]
        rates += unrolled.rates
        jumps |= unrolled.jumps
    found = torch.stack(losses)
    # What is lost stays lost, also where a later loss happens to be finite.
    lost = (~found.isfinite()).int().cummax(0).values.bool()
    gains, changes, sizes = (
        torch.stack([getattr(r, kind) for r in jumps.values()]) if jumps else found.new_zeros(0, draw.size)
        for kind in ("gain", "change", "size")
    )
    return Rollout(
        found.masked_fill(lost, torch.inf), tuple(jumps), gains, changes, sizes, torch.stack(rates)
    )


def _stretches(batches: list[Tensors], whole: Tensors) -> list[list[Tensors]]:
    """All at once where every step sees the whole data, whose losses the loop tells; else step by step."""
    return [batches] if all(batch is whole for batch in batches) else [[batch] for batch in batches]
