"""Evaluation: what is reported, ablations, and tasks that diverge."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from isoloss.learn import Draw, Layout, Loop, Rollout, evaluate
from isoloss.learn.tasks import DigitsPerceptron, TwoLayerRegression
from learn.metas import stirred

TASKS = TwoLayerRegression(size=3)


@dataclass(frozen=True)
class Breaking(TwoLayerRegression):
    """The loss of tasks whose data say so turns to inf once the weights have moved."""

    size: int = 3

    def draw(self, n, generator=None):
        drawn = TASKS.draw(n, generator)
        drawn.data["start"] = drawn.parameters["W1"].clone()
        drawn.data["bad"] = (torch.arange(n) == 1).double()
        return drawn

    def loss(self, parameters, data):
        moved = (parameters["W1"] - data["start"]).square().sum()
        kept = {name: data[name] for name in ("X", "Y")}
        return TASKS.loss(parameters, kept) * torch.where((moved > 0) & (data["bad"] > 0), torch.inf, 1.0)


def test_it_is_the_loop():
    meta = stirred(TASKS, variant=("update", "tele"), teleport_at=(0, 2))
    draw = TASKS.draw(4)
    told = evaluate(meta, TASKS, draw, 5)
    loop = Loop(meta, TASKS, Layout.of(draw.parameters), record=True)
    unrolled = loop.run(loop.begin(draw.parameters), [draw.data] * 5)
    assert told.losses.shape == (6, 4) and not told.losses.requires_grad
    assert_close(told.losses[0], loop.losses(loop.layout.flatten(draw.parameters), draw.data), rtol=0, atol=0)
    assert_close(told.losses[1:], unrolled.losses.detach(), rtol=0, atol=0)
    assert told.jumps == (0, 2)
    for found, kind in ((told.gains, "gain"), (told.changes, "change"), (told.sizes, "size")):
        expected = torch.stack([getattr(r, kind) for r in unrolled.jumps.values()]).detach()
        assert_close(found, expected, rtol=0, atol=0)
    assert_close(told.rates, torch.stack(unrolled.rates).detach(), rtol=0, atol=0)


def test_losses_are_on_all_data_and_steps_on_minibatches():
    tasks = DigitsPerceptron(samples=20, batch=5, hidden=8)
    meta = stirred(tasks, torch.float32, variant=("lr",))
    draw = tasks.draw(2, torch.Generator().manual_seed(0))
    one, again = (evaluate(meta, tasks, draw, 3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    other = evaluate(meta, tasks, draw, 3, generator=torch.Generator().manual_seed(2))
    assert_close(one.losses, again.losses, rtol=0, atol=0)
    assert_close(one.losses[0], other.losses[0], rtol=0, atol=0)
    assert (one.losses[1:] != other.losses[1:]).all()


def test_identity_and_mean_rate():
    meta = stirred(TASKS, variant=("update", "tele"))
    draw = TASKS.draw(4)
    told = evaluate(meta, TASKS, draw, 4)
    without = evaluate(meta, TASKS, draw, 4, ablate="identity")
    assert without.jumps == () and without.gains.shape == without.sizes.shape == (0, 4)
    assert (without.losses[1:] != told.losses[1:]).all()
    descent = evaluate(meta, TASKS, draw, 4, ablate="mean-rate", rate=told.mean_rate)
    assert descent.jumps == (0,)
    assert_close(descent.rates, torch.full((4, 4), told.mean_rate, dtype=torch.float64))


@pytest.mark.parametrize("design", [{}, {"network": "whole", "every": 2}], ids=["coordinate", "whole"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_what_diverges_is_lost_and_the_others_are_not(order, design):
    meta = stirred(Breaking(), variant=("update", "tele"), order=order, **{"every": 1} | design)
    draw = Breaking().draw(3, torch.Generator().manual_seed(1))
    told = evaluate(meta, Breaking(), draw, 6)
    assert torch.isinf(told.losses[1:, 1]).all() and told.losses[0, 1].isfinite()
    assert told.losses[:, [0, 2]].isfinite().all() and not told.losses.isnan().any()
    others = Draw(*({name: t[[0, 2]] for name, t in d.items()} for d in (draw.parameters, draw.data)))
    others.data["bad"] = torch.zeros(2, dtype=torch.float64)
    alone = evaluate(meta, Breaking(), others, 6)
    # Six steps of a hundred operations, through activations of condition 1e4, by kernels for other shapes.
    assert_close(told.losses[:, [0, 2]], alone.losses, rtol=1e7 * 2.2e-16, atol=0)


def test_the_mean_rate_is_of_what_is_known():
    rates = torch.tensor([[1.0, 4.0], [torch.nan, 0.0], [torch.inf, 2.0]])
    nothing = torch.zeros(0, 2)
    rollout = Rollout(torch.zeros(4, 2), (), nothing, nothing, nothing, rates)
    assert rollout.mean_rate == pytest.approx(2.0, rel=1e-6)


def test_wrong_questions_are_told():
    meta = stirred(TASKS, variant=("update",))
    draw = TASKS.draw(2)
    for steps in (0, 1.5):
        with pytest.raises(ValueError, match="steps must be a whole number of at least 1; got "):
            evaluate(meta, TASKS, draw, steps)
    for wrong in ({"ablate": "mean-rate"}, {"rate": 1.0}, {"ablate": "tele"}, {"ablate": "identity", "rate": 1.0}):
        with pytest.raises(ValueError, match="ablate is None, 'identity', or 'mean-rate' with a rate; got"):
            evaluate(meta, TASKS, draw, 2, **wrong)
    whole = stirred(TASKS, variant=("update",), network="whole")
    with pytest.raises(ValueError, match="fit one optimizee"):
        evaluate(whole, TASKS, TwoLayerRegression(size=4).draw(2), 2)
