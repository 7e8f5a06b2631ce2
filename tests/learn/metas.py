"""Meta-optimizers whose networks put out something, as after training."""

import torch

from isoloss.learn import Design, MetaOptimizer


def stirred(tasks, dtype=torch.float64, size=0.3, **design) -> MetaOptimizer:
    """A small meta-optimizer with random parameters everywhere."""
    given = {"hidden": 4} | design
    meta = MetaOptimizer.of(Design(**given), tasks).to(dtype)
    with torch.no_grad():
        for p in meta.parameters():
            p += size * torch.randn_like(p)
    return meta


def one_by_one(tensors, i):
    return {name: t[i] for name, t in tensors.items()}
