"""The loop against the same one written out, and its meta-gradients against finite differences."""

from math import inf

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Layout, Loop
from isoloss.learn.tasks import TwoLayerRegression
from learn.literal import literal_run
from learn.metas import one_by_one, stirred

EPS = torch.finfo(torch.float64).eps
TASKS = TwoLayerRegression(size=3)
TWO = TwoLayerRegression(size=3, scalings=True)
FREE = {"radius": inf, "growth": inf, "tolerance": inf, "trust": inf, "units": "direct", "raw": True}

CASES = {
    "update": (TASKS, {"variant": ("update",)}),
    "lr": (TASKS, {"variant": ("lr",)}),
    "update,tele": (TASKS, {"variant": ("update", "tele"), "teleport_at": (0, 2)}),
    "two actions": (TWO, {"variant": ("update", "tele"), "teleport_at": (1,)}),
    "update,tele after": (TASKS, {"variant": ("update", "tele"), "order": "after", "every": 2}),
    "lr,tele,momentum": (TASKS, {"variant": ("lr", "tele", "momentum"), "teleport_at": (1, 3)}),
    "pushed": (TASKS, {"variant": ("lr", "tele", "momentum"), "teleport_at": (1, 3), "velocity": "push"}),
    "pushed after": (TASKS, {"variant": ("lr", "tele", "momentum"), "velocity": "push", "order": "after"}),
    "update,momentum": (TASKS, {"variant": ("update", "momentum")}),
    "all": (TASKS, {"variant": ("update", "lr", "tele", "momentum")}),
    "all directions": (
        TASKS,
        {
            "variant": ("lr", "tele"),
            "order": "after",
            "directions": ("scale", "whiten", "balance", "gradient-norm", "lookahead"),
        },
    ),
    "whole": (TASKS, {"variant": ("update", "tele", "momentum"), "network": "whole", "every": 2}),
    "published": (
        TASKS,
        {"variant": ("update", "tele"), "network": "whole", "order": "after", "every": 1} | FREE,
    ),
    "published lr": (
        TWO,
        {"variant": ("lr", "tele", "momentum"), "network": "whole", "order": "after", "every": 2}
        | FREE
        | {"rate": 5e-3},
    ),
}


def setting(case, n=3, steps=4):
    tasks, design = CASES[case]
    # Outputs that are the step itself, and elements that nothing bounds, must stay small.
    meta = stirred(tasks, size=0.05 if "published" in case else 0.3, **design)
    draw = tasks.draw(n, torch.Generator().manual_seed(1))
    return meta, tasks, draw, [draw.data] * steps


def run(meta, tasks, draw, batches, second_order=False):
    loop = Loop(meta, tasks, Layout.of(draw.parameters), second_order=second_order)
    return loop.run(loop.begin(draw.parameters), batches)


def slopes(meta, losses):
    """Of the mean logarithm, by parameter; 0 where there is none."""
    found = torch.autograd.grad(losses.log().mean(), list(meta.parameters()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(meta.named_parameters(), found, strict=True)
    }


@pytest.mark.parametrize("second_order", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_loop_written_out(case, second_order):
    meta, tasks, draw, batches = setting(case)
    unrolled = run(meta, tasks, draw, batches, second_order)
    told, ends = [], []
    for i in range(draw.size):
        losses, w = literal_run(
            meta,
            tasks,
            one_by_one(draw.parameters, i),
            [one_by_one(b, i) for b in batches],
            second_order,
        )
        told.append(torch.stack(losses))
        ends.append(torch.cat([t.flatten() for t in w.values()]))
    expected = torch.stack(told, 1)
    # A hundred operations, on elements of condition up to e^8 (radius 4) and activations of condition 1e3.
    tolerance = {"rtol": 100 * 3e6 * EPS, "atol": 100 * 3e6 * EPS}
    assert_close(unrolled.losses, expected, **tolerance)
    assert_close(unrolled.end.weights, torch.stack(ends), **tolerance)
    here, there = slopes(meta, unrolled.losses), slopes(meta, expected)
    for name, slope in there.items():
        assert_close(here[name], slope, **tolerance)
    for part in meta.design.variant:
        assert any(float(s.abs().max()) > 1e-6 for name, s in there.items() if f"_{part}." in name), part


# Teleports where the directions are those of the start, or do not depend on the weights: they count as constants.
CONSTANT = {
    "update": {},
    "lr": {},
    "update,tele": {"teleport_at": (0,)},
    "update,tele after": {"directions": ("scale",)},
    "lr,tele,momentum": {"directions": ("scale",)},
    "pushed": {"directions": ("scale",)},
    "update,momentum": {},
    "whole": {},
    "published": {},
    "published lr": {},
}


@pytest.mark.parametrize("case", CONSTANT)
def test_the_second_order_is_the_derivative(case, monkeypatch):
    tasks, design = CASES[case]
    monkeypatch.setitem(CASES, case, (tasks, design | CONSTANT[case]))
    meta, tasks, draw, batches = setting(case)
    exact, cut = (slopes(meta, run(meta, tasks, draw, batches, order).losses) for order in (True, False))
    along = {name: torch.randn_like(p) for name, p in meta.named_parameters()}
    h, found = 1e-5, {}
    start = {name: p.detach().clone() for name, p in meta.named_parameters()}
    for times in (-2, -1, 1, 2):
        with torch.no_grad():
            for name, p in meta.named_parameters():
                p.copy_(start[name] + times * h * along[name])
        found[times] = run(meta, tasks, draw, batches).losses.detach().log().mean()
    difference, wider = ((found[k] - found[-k]) / (2 * k * h) for k in (1, 2))
    predicted, first_order = (sum((s[name] * along[name]).sum() for name in s) for s in (exact, cut))
    # Central differences err by a third of what doubling h changes, and by rounding, 1e3 eps / h.
    assert_close(predicted, difference, rtol=0, atol=float((wider - difference).abs()) + 1e3 * EPS / h)
    assert (first_order - difference).abs() > 1e-5, "what is shown matters"


def test_directions_count_as_constants():
    """The exact derivative would see that those of a later teleport depend on the steps before it."""
    tasks, design = TASKS, {"variant": ("lr", "tele"), "teleport_at": (2,), "directions": ("balance",)}
    meta = stirred(tasks, **design)
    draw = tasks.draw(2)
    rate, h = meta.part("lr").log_rate, 1e-5
    whole = torch.autograd.grad(run(meta, tasks, draw, [draw.data] * 4, True).losses.log().mean(), rate)[0]
    found = []
    for sign in (1, -1):
        with torch.no_grad():
            rate += sign * h
            found.append(run(meta, tasks, draw, [draw.data] * 4).losses.log().mean())
            rate -= sign * h
    assert (whole - (found[0] - found[1]) / (2 * h)).abs() > 1e-6


def test_losses_are_on_the_data_of_the_next_step():
    """And the last one on those ahead, or on its own."""
    meta = stirred(TASKS, variant=("update",))
    one, two, three = (TASKS.draw(2) for _ in range(3))
    loop = Loop(meta, TASKS, Layout.of(one.parameters))
    batches = [one.data, two.data]
    unrolled = loop.run(loop.begin(one.parameters), batches, three.data)
    halfway = loop.run(loop.begin(one.parameters), batches[:1]).end.weights
    expected = [loop.losses(halfway, two.data), loop.losses(unrolled.end.weights, three.data)]
    assert_close(unrolled.losses, torch.stack(expected), rtol=0, atol=0)
    alone = loop.run(loop.begin(one.parameters), batches)
    assert_close(alone.losses[-1], loop.losses(unrolled.end.weights, two.data), rtol=0, atol=0)
    with pytest.raises(ValueError, match="Loop: there must be a step to take; got no minibatches; pass"):
        loop.run(loop.begin(one.parameters), [])


@pytest.mark.parametrize("case", ["all", "whole"])
def test_a_walk_can_be_continued(case):
    meta, tasks, draw, batches = setting(case)
    loop = Loop(meta, tasks, Layout.of(draw.parameters))
    whole = loop.run(loop.begin(draw.parameters), batches)
    half = loop.run(loop.begin(draw.parameters), batches[:2]).end.cut()
    rest = loop.run(half, batches[2:])
    assert half.step == 2 and rest.end.step == 4
    assert not half.weights.requires_grad and not any(t.requires_grad for t in half.state.values())
    assert_close(rest.end.weights, whole.end.weights, rtol=0, atol=0)


def test_ablations_are_gradient_descent_and_no_teleport():
    meta, tasks, draw, batches = setting("update,tele")
    layout = Layout.of(draw.parameters)
    descent = Loop(meta, tasks, layout, identity=True, rate=1e-3, record=True)
    unrolled = descent.run(descent.begin(draw.parameters), batches)
    w = {name: t.clone().requires_grad_() for name, t in draw.parameters.items()}
    for data in batches:
        value = sum(tasks.loss(one_by_one(w, i), one_by_one(data, i)) for i in range(draw.size))
        slope = torch.autograd.grad(value, list(w.values()))
        w = {n: (t - 1e-3 * s).detach().requires_grad_() for (n, t), s in zip(w.items(), slope, strict=True)}
    assert_close(unrolled.end.weights, layout.flatten(w).detach(), rtol=1e3 * EPS, atol=1e3 * EPS)
    assert unrolled.jumps == {}
    for rate in unrolled.rates:
        # The length of a difference of sums of nine squares, over that of another.
        assert_close(rate, torch.full_like(rate, 1e-3), rtol=32 * EPS, atol=0)
    teleported = Loop(meta, tasks, layout, rate=1e-3, record=True)
    assert list(teleported.run(teleported.begin(draw.parameters), batches).jumps) == [0, 2]
