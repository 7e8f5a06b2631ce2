"""Teleports within the loop: what they keep, what is refused, and what they do to the meta-gradient."""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import GeneralLinear
from isoloss.learn import Design, Layout, Loop
from isoloss.learn._teleport import jump, propose
from isoloss.learn.directions import DIRECTIONS
from isoloss.learn.tasks import TwoLayerRegression
from learn.metas import one_by_one, stirred

EPS = torch.finfo(torch.float64).eps
TASKS = TwoLayerRegression(size=4)


@dataclass(frozen=True)
class Planted:
    """The action of the regression, spoilt where the data say so: `bad` is 1 there, else 0."""

    spoil: Any
    name: str = "planted"
    group: GeneralLinear = field(default_factory=lambda: GeneralLinear(4))
    batch: tuple = ()
    parameters: tuple = ("W1", "W2")

    def act(self, g, parameters, data):
        return self.spoil(TASKS.actions[0].act(g, parameters, data), data)

    def units(self, parameters, data):
        return TASKS.actions[0].units(parameters, data)


def rooted(w, data):
    """Unspoilt times 1; spoilt times the root of a 0 that depends on the weights, whose derivative is none."""
    root = (1 - data["bad"] + 0 * w["W1"].sum()).sqrt()
    return {name: t * root for name, t in w.items()}


SPOILT = {
    "changes the loss": lambda w, data: w | {"W2": w["W2"] * (1 + data["bad"])},
    "grows": lambda w, data: {
        "W1": w["W1"] * (1 + 1e6 * data["bad"]),
        "W2": w["W2"] / (1 + 1e6 * data["bad"]),
    },
    "is no number": lambda w, data: {name: t * data["nan"] for name, t in w.items()},
    "is infinite": lambda w, data: {name: t * data["inf"] for name, t in w.items()},
    "has no derivative": rooted,
}


@dataclass(frozen=True)
class Planting(TwoLayerRegression):
    """The regression, with a spoilt action on the tasks that `bad` lists."""

    size: int = 4
    spoil: Any = None
    bad: tuple = ()

    @property
    def actions(self):
        return (Planted(self.spoil),) if self.spoil else TASKS.actions

    def draw(self, n, generator=None):
        drawn = TASKS.draw(n, generator)
        bad = torch.tensor([float(i in self.bad) for i in range(n)], dtype=torch.float64)
        drawn.data["bad"] = bad
        for value in ("nan", "inf"):
            drawn.data[value] = torch.where(bad > 0, float(value), 1.0)
        return drawn


def walk(meta, tasks, n=3, steps=3, **settings):
    draw = tasks.draw(n, torch.Generator().manual_seed(2))
    loop = Loop(meta, tasks, Layout.of(draw.parameters), record=True, **settings)
    return draw, loop, loop.run(loop.begin(draw.parameters), [draw.data] * steps)


@pytest.mark.parametrize("velocity", ["keep", "push"])
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_teleport_is_refused_and_harms_no_other_task(kind, order, velocity):
    design = {"variant": ("update", "tele", "momentum"), "order": order, "velocity": velocity, "every": 2}
    meta = stirred(TASKS, **design)
    names, ps = zip(*meta.named_parameters(), strict=True)
    _, _, planted = walk(meta, Planting(spoil=SPOILT[kind], bad=(1,)))
    _, _, clean = walk(meta, Planting())
    for step, record in planted.jumps.items():
        assert record.size[1] == 0 and record.change[1] == 0 and record.gain[1] == 1
        assert_close(record.size[[0, 2]], clean.jumps[step].size[[0, 2]], rtol=1e6 * EPS, atol=0)
    assert (clean.jumps[0].size > 0.1).all(), "the same element is taken where the action is good"
    others = [0, 2]
    # The same numbers by kernels for other shapes: a hundred operations on matrices of condition 1e4.
    assert_close(planted.losses[:, others], clean.losses[:, others], rtol=1e6 * EPS, atol=0)
    found = torch.autograd.grad(planted.losses.log().mean(), ps)
    for name, slope in zip(names, found, strict=True):
        assert slope.isfinite().all(), name
    _, _, planted = walk(meta, Planting(spoil=SPOILT[kind], bad=(1,)))
    found = torch.autograd.grad(planted.losses[:, others].log().mean(), ps)
    _, _, clean = walk(meta, Planting())
    expected = torch.autograd.grad(clean.losses[:, others].log().mean(), ps)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_a_refused_task_walks_as_without_teleports():
    meta = stirred(TASKS, variant=("lr", "tele"), teleport_at=(1,))
    _, _, planted = walk(meta, Planting(spoil=SPOILT["changes the loss"], bad=(0, 1, 2)))
    _, _, without = walk(meta, Planting(), identity=True)
    assert_close(planted.end.weights, without.end.weights, rtol=0, atol=0)


@pytest.mark.parametrize("scalings", [False, True])
def test_teleports_keep_the_loss_and_stay_in_the_radius(scalings):
    tasks = TwoLayerRegression(size=6, scalings=scalings)
    meta = stirred(tasks, size=1.0, variant=("lr", "tele"), every=1, radius=1.5)
    _, _, unrolled = walk(meta, tasks, n=8, steps=5)
    sizes = torch.stack([r.size for r in unrolled.jumps.values()])
    changes = torch.stack([r.change for r in unrolled.jumps.values()])
    assert (sizes <= 1.5).all() and sizes.max() > 1.0, "outputs beyond the radius were tried"
    assert (changes.abs() <= 1e-8).all()


def test_what_goes_too_far_is_shortened():
    """In halves, until it is short enough; one that is too long even then is refused."""
    draw = TASKS.draw(3, torch.Generator().manual_seed(2))
    layout = Layout.of(draw.parameters)
    weights = layout.flatten(draw.parameters)
    a = 2 * torch.eye(4, dtype=torch.float64).expand(3, 4, 4).contiguous()
    a[2] = 300.0
    a[1] *= 0.01
    loop = Loop(stirred(TASKS), TASKS, layout)

    def go(growth, radius):
        design = Design(growth=growth, radius=radius)
        return jump(design, TASKS.actions, loop.losses, layout, weights, draw.data, [a])

    told = go(growth=2.0, radius=1e3)
    for i in range(3):
        lengths = []
        for part in (1.0, 0.5, 0.25, 0.125):
            moved = TASKS.actions[0].act(
                torch.linalg.matrix_exp(part * a[i]),
                one_by_one(draw.parameters, i),
                one_by_one(draw.data, i),
            )
            lengths.append(torch.cat([t.flatten() for t in moved.values()]).norm() / weights[i].norm())
        fits = [part for part, grown in zip((1.0, 0.5, 0.25, 0.125), lengths, strict=True) if grown <= 2.0]
        assert told.taken[i] == (fits or [0.0])[0]
    assert told.taken.tolist()[1:] == [1.0, 0.0] and 0 < told.taken[0] < 1
    assert_close(told.weights[2], weights[2], rtol=0, atol=0)
    norms = torch.linalg.matrix_norm(a, 2) * told.taken
    # The bound on the radius takes (norm / radius)^16 / 16 of it.
    assert_close(told.sizes, norms, rtol=1e-12, atol=0)
    assert (go(growth=inf, radius=1.0).taken == 1).all()


@pytest.mark.parametrize("order", ["before", "after"])
def test_gains_and_changes_are_those_of_the_move(order):
    """Recomputed from the weights before and after, which a loop without the step shows."""
    meta = stirred(TASKS, variant=("lr", "tele"), order=order)
    draw, loop, _ = walk(meta, TASKS)
    start = loop.begin(draw.parameters)
    told = loop.run(start, [draw.data])
    without = Loop(meta, TASKS, loop.layout, identity=True)
    stepped = without.run(without.begin(draw.parameters), [draw.data]).end.weights
    if order == "after":
        here, there = stepped, told.end.weights
    else:
        still = Loop(meta, TASKS, loop.layout, rate=0.0)
        here, there = start.weights, still.run(start, [draw.data]).end.weights

    def at(weights):
        w = weights.detach().requires_grad_()
        values = torch.stack(
            [TASKS.loss(one_by_one(loop.layout.unflatten(w), i), one_by_one(draw.data, i)) for i in range(3)]
        )
        return values.detach(), torch.autograd.grad(values.sum(), w)[0].norm(dim=1)

    (old, before), (new, after) = at(here), at(there)
    record = told.jumps[0]
    assert_close(record.gain, after / before, rtol=1e-10, atol=0)
    # A difference of nearly equal numbers: what is left is rounding on either side.
    assert_close(record.change, (new - old) / old, rtol=0, atol=1e3 * EPS)
    assert (record.gain - 1).abs().min() > 1e-3


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_pushed_velocity_is_the_derivative_of_the_move(order):
    design = {"variant": ("lr", "tele", "momentum"), "teleport_at": (1,), "order": order}
    keep, push = (stirred(TASKS, **design, velocity=v) for v in ("keep", "push"))
    push.load_state_dict(keep.state_dict())
    draw, loop, _ = walk(push, TASKS)
    other = Loop(keep, TASKS, loop.layout)
    first = loop.run(loop.begin(draw.parameters), [draw.data]).end.cut()
    seen, _ = push.see(loop.layout, first.weights, first.weights, first.state)
    told, state = loop._teleport(first.weights, draw.data, seen, first.state)
    _, kept = other._teleport(first.weights, draw.data, seen, first.state)
    v, h = first.state["velocity"], 1e-6
    assert_close(kept["velocity"], v, rtol=0, atol=0)
    assert (told.there.taken > 0).all()
    ends = [
        jump(
            push.design,
            TASKS.actions,
            loop.losses,
            loop.layout,
            first.weights + s * h * v,
            draw.data,
            told.taken,
        )
        for s in (1, -1)
    ]
    assert all((e.taken == 1).all() for e in ends)
    difference = (ends[0].weights - ends[1].weights) / (2 * h)
    # Central differences: h^2 times a third derivative below 1e4, and rounding of 1e3 eps / h.
    assert_close(state["velocity"], difference, rtol=0, atol=1e4 * h**2 + 1e3 * EPS / h)
    assert (state["velocity"] - v).norm(dim=1).min() > 1e-3


@pytest.mark.parametrize("order", ["before", "after"])
def test_directions_are_told_the_gradient_that_is_there(order, monkeypatch):
    """Lookahead reads it, for its rate: a stale one would make it another."""
    seen = []

    class Telltale:
        name = "telltale"

        def suits(self, action):
            return True

        def __call__(self, action, loss, parameters, data, gradient):
            here = torch.func.grad(loss)(parameters)
            off = sum(((here[n] - gradient[n]) ** 2).sum() for n in here)
            return torch.eye(4, dtype=torch.float64) * off

    monkeypatch.setitem(DIRECTIONS, "telltale", Telltale)
    meta = stirred(TASKS, variant=("lr", "tele"), directions=("telltale",), order=order, every=1)
    original = type(meta.part("tele"))._composed

    def spy(self, observed, state, proposals):
        seen.append(proposals[0])
        return original(self, observed, state, proposals)

    monkeypatch.setattr(type(meta.part("tele")), "_composed", spy)
    walk(meta, TASKS)
    assert len(seen) == 3 and all(float(p.abs().max()) < 1e-20 for p in seen)


def test_proposals_that_are_no_numbers_are_nothing(monkeypatch):
    class Broken:
        name = "broken"

        def suits(self, action):
            return True

        def __call__(self, action, loss, parameters, data, gradient):
            return torch.full((4, 4), torch.nan, dtype=torch.float64) / data["bad"]

    monkeypatch.setitem(DIRECTIONS, "broken", Broken)
    meta = stirred(TASKS, variant=("lr", "tele"), directions=("broken", "scale"))
    _, _, unrolled = walk(meta, Planting())
    found = torch.autograd.grad(unrolled.losses.log().mean(), list(meta.parameters()))
    assert all(slope.isfinite().all() for slope in found) and (unrolled.jumps[0].size > 0).all()


def test_only_directions_that_suit_propose():
    tasks = TwoLayerRegression(size=4, scalings=True)
    draw = tasks.draw(2)
    layout = Layout.of(draw.parameters)
    w = layout.flatten(draw.parameters)
    design = Design(directions=("scale", "balance"))
    scaling, linear = propose(design, tasks.actions, tasks.loss, layout, w, draw.data, torch.ones_like(w))
    assert scaling.shape == (2, 2, 4) and linear.shape == (2, 2, 4, 4)
    assert_close(linear[:, 0], torch.eye(4).double().expand(2, 4, 4))
    published = replace(design, network="whole")
    assert propose(published, tasks.actions, tasks.loss, layout, w, draw.data, w) == []
