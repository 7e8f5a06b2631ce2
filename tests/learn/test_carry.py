"""Teleports carry the learned rates along: after a rescaling the steps are the rescaled steps."""

from math import inf, log

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Design, Layout, Loop, MetaOptimizer
from isoloss.learn.tasks import TwoLayerRegression

TASKS = TwoLayerRegression(size=4)
STEPS = 12


def losses(at: int, size: float, draw, order: str = "before") -> torch.Tensor:
    """Of an untrained meta-optimizer, whose learning rates stay, that multiplies units by e^size at a step."""
    design = Design(teleport_at=(at,), directions=("scale",), trust=inf, growth=inf, order=order)
    meta = MetaOptimizer.of(design, TASKS).double()
    with torch.no_grad():
        meta.teleport.network.read.bias.fill_(size)
        loop = Loop(meta, TASKS, Layout.of(draw.parameters))
        return loop.run(loop.begin(draw.parameters), [draw.data] * STEPS).losses


@pytest.mark.parametrize("at", [1, 5])
def test_descent_goes_on_as_if_nothing_had_been_rescaled(at):
    draw = TASKS.draw(5, torch.Generator().manual_seed(0))
    plain, moved = losses(at, 0.0, draw), losses(at, 1.0, draw)
    # Rounding of a dozen steps through a least-squares fit whose matrix has a condition number of up to 1e4.
    assert_close(moved, plain, rtol=1e-9, atol=0)
    assert (plain[-1] < plain[0]).all()


@pytest.mark.parametrize(("at", "order"), [(0, "before"), (5, "after")])
def test_elsewhere_the_rates_are_those_of_the_other_scale(at, order):
    """Before the first step there are none to carry; after a step the next gradient is not known."""
    draw = TASKS.draw(5, torch.Generator().manual_seed(0))
    plain, moved = losses(at, 0.0, draw, order), losses(at, 1.0, draw, order)
    assert ((moved[-1] / plain[-1]).log().abs() > 1e-3).all()


def test_nothing_is_carried_where_gradients_or_weights_are_zero():
    meta = MetaOptimizer.of(Design(), TASKS)
    draw = TASKS.draw(2)
    layout = Layout.of(draw.parameters)
    weights = layout.flatten(draw.parameters)
    state = meta.start(layout, weights, 1) | {"observer/step": torch.ones(2, dtype=torch.float64)}
    zero = torch.zeros_like(weights)
    for before, after in (((weights, zero), (weights, weights)), ((weights, weights), (zero, weights))):
        assert (meta.carry(layout, before, after, state)["update/carried"] == 0).all()
    carried = meta.carry(layout, (weights, weights), (weights, 2 * weights), state)["update/carried"]
    assert_close(carried, torch.full_like(weights, -log(2.0)))
