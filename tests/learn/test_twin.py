"""The loop on many tasks at once against the literal loop of the benchmark, on one at a time."""

import runpy
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Layout, Loop, MetaOptimizer, Recipe
from isoloss.learn.tasks import TwoLayerRegression
from isoloss.learn.training._estimate import backprop

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/learn.py"))
STEPS = 4


@pytest.mark.parametrize("name", BENCHMARK["DESIGNS"])
def test_losses_and_meta_gradients_are_those_of_one_trajectory_at_a_time(name):
    """In float64. Three tasks of 800 weights are rows enough for the fused cells of the coordinate-wise LSTM."""
    torch.manual_seed(0)
    tasks = TwoLayerRegression()
    meta = MetaOptimizer.of(BENCHMARK["DESIGNS"][name], tasks).double()
    with torch.no_grad():
        for p in meta.parameters():  # a linear layer at zero would hide the cells
            p.add_(0.01 * torch.randn_like(p))
    draw = tasks.draw(3)
    loop = Loop(meta, tasks, Layout.of(draw.parameters))
    losses, _ = backprop(
        loop, Recipe(batch=3, unroll=STEPS), loop.begin(draw.parameters), [draw.data] * STEPS, torch.zeros(3)
    )
    found = [p.grad for p in meta.parameters()]
    twins = torch.stack([BENCHMARK["twin_losses"](meta, tasks, draw, STEPS, i) for i in range(3)], 1)
    expected = torch.autograd.grad(twins.log().mean(), list(meta.parameters()))
    # Teleports divide by activations S' of condition up to 10^5, which the backward pass does once more: eps cond^2.
    rtol = 1e-5 if "tele" in name else 1e-9
    assert_close(losses, twins.log().mean(0), rtol=rtol, atol=0)
    for mine, its in zip(found, expected, strict=True):
        assert_close(mine, its, rtol=rtol, atol=rtol * float(its.abs().max()))
    for part in meta.design.variant:
        read = meta.part(part).network.read.weight.grad
        assert read is not None and read.any()
