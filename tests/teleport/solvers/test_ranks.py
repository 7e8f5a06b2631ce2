"""Solvers that evaluate, in data-parallel training: every rank makes the first one's move."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD
from torch.testing import assert_close

from isoloss.teleport import (
    GradientNorm,
    LevelSetAscent,
    LieAscent,
    NullSpaceProjection,
    RandomSearch,
    Sharpness,
    Teleport,
    always,
)
from networks import mlp, mlp_symmetries, snapshot
from ranks import leave


def _train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = mlp(12, 8, 3).double()
    x, y = torch.randn(8, 12).double(), torch.randn(8, 3).double()
    mine = slice(4 * rank, 4 * rank + 4)
    replica = nn.parallel.DistributedDataParallel(model)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    sharp = Sharpness(displacements=(0.5,), directions=2)
    kept, skipped = [], []
    for solver, objective in (
        (LieAscent(2), sharp),
        (RandomSearch(3), sharp),
        (LevelSetAscent(2), GradientNorm()),
        (NullSpaceProjection(2), GradientNorm()),
    ):
        options = {
            "solver": solver,
            "loss": lambda: mse_loss(model(x[mine]), y[mine]),
            "generator": torch.Generator().manual_seed(rank),
            "radius": 0.05,
        }
        optimizer.zero_grad()
        mse_loss(replica(x[mine]), y[mine]).backward()
        jump = Teleport(optimizer, mlp_symmetries(model), objective, always, **options).step()
        skipped.append(jump.skipped)
        kept.append(snapshot(model, optimizer))
        optimizer.step()
    torch.save([kept, skipped], os.path.join(folder, f"rank{rank}.pt"))
    leave()


def test_two_ranks_stay_together(tmp_path):
    mp.spawn(_train, args=(str(tmp_path),), nprocs=2)
    (one, skipped), (two, _) = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in range(2))
    assert skipped == [None] * 4
    assert_close(one, two, rtol=0.0, atol=0.0)
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(one, one[1:], strict=False))
