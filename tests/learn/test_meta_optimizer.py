"""Meta-optimizers: their parts, their sizes, what is published, and what they refuse."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import PARTS, Design, Layout, MetaOptimizer
from isoloss.learn.tasks import LogisticRegression, TwoLayerRegression
from learn.metas import stirred

TASKS = TwoLayerRegression(size=3)


def test_registry_knows_parts_by_their_names():
    assert {name: part.name for name, part in PARTS.items()} == {name: name for name in PARTS}


def lstm(inputs, hidden, outputs):
    """Numbers of two layers with two biases each, and of the linear layer."""
    return 4 * hidden * (inputs + hidden + 2) + 4 * hidden * (2 * hidden + 2) + outputs * (hidden + 1)


def test_published_sizes():
    """Two layers of 300 units; 800 weights; GL(20) has 400 coordinates."""
    meta = MetaOptimizer.of(Design.published("update", "lr", "tele", "momentum"), TwoLayerRegression(size=20))
    for name, outputs in {"update": 800, "lr": 1, "tele": 400, "momentum": 1}.items():
        count = sum(p.numel() for p in meta.part(name).parameters())
        assert count == lstm(800, 300, outputs), name
    assert {name for name, _ in meta.named_parameters()} >= {"parts.learned_update.network.read.weight"}


def test_sizes_by_coordinate():
    """Seven features, for the teleport three lengths besides; a logarithm of a rate."""
    meta = MetaOptimizer(Design(variant=("update", "lr", "tele", "momentum")))
    expected = {"update": lstm(9, 20, 2) + 1, "lr": lstm(7, 20, 1) + 1}
    expected |= {"tele": lstm(10, 20, 3), "momentum": lstm(7, 20, 1)}
    for name, count in expected.items():
        assert sum(p.numel() for p in meta.part(name).parameters()) == count, name


def seen_by(meta, gradient, tasks=TASKS):
    draw = tasks.draw(len(gradient))
    layout = Layout.of(draw.parameters)
    weights = layout.flatten(draw.parameters)
    return meta.see(layout, weights, gradient, meta.start(layout, weights, len(tasks.actions)))


def test_published_outputs_are_the_step():
    """f_t = m(gradient), eta = 5e-3 sigmoid, g_t has the outputs as coordinates: nothing is scaled or bounded."""
    meta = MetaOptimizer.of(Design.published("update"), TASKS).double()
    gradient = 1e3 * torch.randn(4, 18, dtype=torch.float64)
    seen, state = seen_by(meta, gradient)
    network = meta.part("update").network
    expected, _ = network(gradient, network.start((4,)))
    assert_close(meta.move(seen, state)[0], expected, rtol=0, atol=0)
    meta = MetaOptimizer.of(Design.published("lr", "tele"), TASKS).double()
    seen, state = seen_by(meta, gradient)
    network = meta.part("lr").network
    rate = 5e-3 * network(gradient, network.start((4,)))[0].sigmoid()
    assert_close(meta.move(seen, state)[0], -rate * gradient, rtol=0, atol=0)
    (a,), _ = meta.elements(seen, state, TASKS.actions, [])
    network = meta.part("tele").network
    assert_close(a, network(gradient, network.start((4,)))[0].reshape(4, 3, 3), rtol=0, atol=0)


def test_momentum_is_a_half_before_training():
    meta = MetaOptimizer.of(Design(variant=("lr", "momentum"), trust=float("inf")), TASKS)
    gradient = torch.randn(4, 18, dtype=torch.float64)
    seen, state = seen_by(meta, gradient)
    state["velocity"] = torch.randn_like(gradient)
    step, kept = meta.move(seen, state)
    plain = MetaOptimizer.of(Design(variant=("lr",), trust=float("inf")), TASKS)
    alone, _ = plain.move(seen, {**seen_by(plain, gradient)[1], "velocity": state["velocity"]})
    assert_close(step, state["velocity"] / 2 + alone)
    assert_close(kept["velocity"], step, rtol=0, atol=0)


def test_one_is_for_any_optimizee():
    """Networks that see one weight at a time."""
    meta = stirred(TASKS, torch.float32, variant=("update", "lr", "momentum"))
    other = LogisticRegression(samples=20)
    gradient = torch.randn(2, 650, dtype=torch.float64)
    seen, state = seen_by(meta, gradient, other)
    step, _ = meta.move(seen, state)
    assert step.shape == (2, 650) and step.dtype == torch.float64 and (step != 0).all()


def test_what_sees_all_is_for_one_optimizee():
    meta = MetaOptimizer.of(Design(variant=("update",), network="whole", hidden=4), TASKS)
    with pytest.raises(
        ValueError, match=r"fit one optimizee; got .*\(4, 4\).* made for .*\(3, 3\).*; learn one"
    ):
        seen_by(meta, torch.randn(2, 32), TwoLayerRegression(size=4))


def test_missing_layouts_and_actions_are_told():
    with pytest.raises(ValueError, match="must know its size; got no layout; use MetaOptimizer.of"):
        MetaOptimizer(Design(variant=("update",), network="whole"))
    layout = Layout.of(TASKS.draw(1).parameters)
    with pytest.raises(ValueError, match="must know the group; got no actions; use MetaOptimizer.of"):
        MetaOptimizer(Design(network="whole"), layout)
    with pytest.raises(
        ValueError, match="tele needs tasks with an action; logistic has none; leave tele out"
    ):
        MetaOptimizer.of(Design(), LogisticRegression(samples=20))


def test_the_memory_starts_without_a_graph_and_is_not_changed_in_place():
    meta = stirred(TASKS, variant=("update", "lr", "tele", "momentum"))
    gradient = torch.randn(4, 18, dtype=torch.float64)
    seen, state = seen_by(meta, gradient)
    before = {name: t.clone() for name, t in state.items()}
    assert not any(t.requires_grad for t in state.values())
    assert {len(t) for t in state.values()} == {4}, "every entry has the tasks first"
    _, after = meta.move(seen, state)
    assert all(torch.equal(t, before[name]) for name, t in state.items())
    assert after.keys() == state.keys()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed >= {"velocity", "update/h0", "lr/c1", "momentum/h1", "update/first", "update/rate"}
