"""Laws of whole trajectories: why what was learned on one optimizee holds on another."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import DIRECTIONS, Design, Draw, Layout, Loop
from isoloss.learn.tasks import LogisticRegression, TwoLayerRegression
from learn.metas import stirred

EPS = torch.finfo(torch.float64).eps
# Ten steps of a hundred operations each; teleports, one at the start and one near the end, of condition up to e^4
# through activations of condition 1e3.
ROUNDING = 10 * 100 * 5e4 * EPS
VARIANTS = {
    "update": {"variant": ("update",)},
    "all": {"variant": ("update", "lr", "momentum"), "trust": 0.1},
    "tele": {"variant": ("lr", "tele", "momentum"), "velocity": "push", "every": 4},
    "after": {"variant": ("update", "tele"), "order": "after", "every": 8},
    "directions": {"variant": ("lr", "tele"), "directions": tuple(DIRECTIONS), "every": 8},
    "whole": {"variant": ("update", "tele", "momentum"), "network": "whole"},
}


@dataclass(frozen=True)
class Scaled(TwoLayerRegression):
    """The regression times a constant."""

    constant: float = 1.0

    def loss(self, parameters, data):
        return self.constant * super().loss(parameters, data)


def walk(meta, tasks, draw, steps=10):
    loop = Loop(meta, tasks, Layout.of(draw.parameters))
    with torch.no_grad():
        return loop.run(loop.begin(draw.parameters), [draw.data] * steps)


@pytest.mark.parametrize("constant", [1e-100, 7.0, 1e100])
@pytest.mark.parametrize("name", VARIANTS)
def test_scaling_the_loss_changes_nothing(name, constant):
    """With learning rates as units; gradients and losses are all that is seen, and only their ratios."""
    one, other = Scaled(size=3), Scaled(size=3, constant=constant)
    meta = stirred(one, radius=1.0, **VARIANTS[name])
    draw = one.draw(3, torch.Generator().manual_seed(1))
    here, there = walk(meta, one, draw), walk(meta, other, draw)
    assert_close(there.end.weights, here.end.weights, rtol=ROUNDING, atol=ROUNDING)
    assert_close(there.losses / constant, here.losses, rtol=ROUNDING, atol=ROUNDING)
    assert (here.end.weights - walk(meta, one, draw, 1).end.weights).norm(dim=1).min() > 1e-3


@pytest.mark.parametrize(
    "design",
    [{"units": "direct"}, {"network": "whole", "raw": True}],
    ids=["outputs as steps", "raw gradients"],
)
def test_scaling_the_loss_changes_what_is_published(design):
    """The exceptions."""
    meta = stirred(Scaled(size=3), variant=("lr",), **design)
    draw = Scaled(size=3).draw(3, torch.Generator().manual_seed(1))
    ends = [walk(meta, Scaled(size=3, constant=c), draw).end.weights for c in (1.0, 1e3)]
    assert (ends[0] - ends[1]).norm(dim=1).min() > 1e3 * ROUNDING


def permuted(draw, order):
    w1, w2 = draw.parameters["W1"], draw.parameters["W2"]
    return Draw({"W1": w1[:, order], "W2": w2[:, :, order]}, draw.data)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "whole"])
@pytest.mark.parametrize("scalings", [False, True])
def test_permuting_hidden_units_permutes_the_trajectory(name, scalings):
    tasks = TwoLayerRegression(size=4, scalings=scalings)
    meta = stirred(tasks, radius=1.0, **VARIANTS[name])
    draw = tasks.draw(3, torch.Generator().manual_seed(1))
    order = torch.tensor([2, 0, 3, 1])
    here, there = walk(meta, tasks, draw), walk(meta, tasks, permuted(draw, order))
    assert_close(there.losses, here.losses, rtol=ROUNDING, atol=ROUNDING)
    layout = Layout.of(draw.parameters)
    moved = permuted(Draw(layout.unflatten(here.end.weights), {}), order).parameters
    assert_close(there.end.weights, layout.flatten(moved), rtol=ROUNDING, atol=ROUNDING)


def test_a_network_that_sees_all_depends_on_the_order():
    tasks = TwoLayerRegression(size=4)
    meta = stirred(tasks, **VARIANTS["whole"])
    draw = tasks.draw(3)
    here, there = (walk(meta, tasks, d) for d in (draw, permuted(draw, torch.tensor([2, 0, 3, 1]))))
    assert (there.losses[-1] - here.losses[-1]).abs().min() > 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_that_are_all_zero_learn(dtype):
    """Their length measures nothing; 1 takes its place. Logistic regressions start so."""
    tasks = LogisticRegression(samples=40, batch=None, dtype=dtype)
    meta = stirred(tasks, torch.float32, size=0.0, variant=("update",))
    draw = tasks.draw(2, torch.Generator().manual_seed(1))
    zeros = Draw({name: torch.zeros_like(t) for name, t in draw.parameters.items()}, draw.data)
    losses = walk(meta, tasks, zeros, 30).losses
    assert (losses[-1] < losses[0] / 2).all() and losses.dtype == dtype


@pytest.mark.parametrize("variant", [("update",), ("lr", "momentum")])
def test_second_order_where_entries_of_the_gradient_are_zero(variant):
    """Images have pixels that are always black: their weights have no gradient."""
    tasks = LogisticRegression(samples=40, batch=10)
    meta = stirred(tasks, variant=variant)
    draw = tasks.draw(2, torch.Generator().manual_seed(1))
    loop = Loop(meta, tasks, Layout.of(draw.parameters), second_order=True)
    batches = [tasks.minibatch(draw.data, torch.Generator().manual_seed(i)) for i in range(3)]
    losses = loop.run(loop.begin(draw.parameters), batches).losses
    found = torch.autograd.grad(losses.log().mean(), list(meta.parameters()))
    assert all(slope.isfinite().all() for slope in found)
    assert max(float(slope.abs().max()) for slope in found) > 1e-3


def test_the_first_step_has_the_length_that_the_design_says():
    """As a part of that of the weights; a step that is not trusted is shortened."""
    tasks = TwoLayerRegression(size=4)
    draw = tasks.draw(5)
    start = Layout.of(draw.parameters).flatten(draw.parameters)
    for variant in ("update", "lr"):
        free = stirred(tasks, size=0.0, variant=(variant,), rate=0.2, trust=float("inf"))
        step = (walk(free, tasks, draw, 1).end.weights - start).norm(dim=1) / start.norm(dim=1)
        # The rate is a float32 logarithm.
        assert_close(step, torch.full_like(step, 0.2), rtol=1e-6, atol=0)
        bound = stirred(tasks, size=0.0, variant=(variant,), rate=100.0, trust=0.1)
        step = (walk(bound, tasks, draw, 1).end.weights - start).norm(dim=1) / start.norm(dim=1)
        # 0.1 of the length now and at the start; of a root of 1 + (0.2 / 100)^2.
        assert_close(step, torch.full_like(step, 0.2), rtol=4e-6, atol=0)


def test_defaults_are_bounded_and_published_is_not():
    assert Design().trust < float("inf") and Design.published("update").trust == float("inf")
