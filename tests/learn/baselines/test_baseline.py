"""Baselines against torch.optim, and what holds for all of them: batches of rates, divergence, what is recorded."""

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.learn.baselines import (
    BASELINES,
    Adam,
    Ascent,
    GradientDescent,
    GradientDescentTeleport,
    Momentum,
)
from isoloss.learn.tasks import (
    BoothTasks,
    DigitsPerceptron,
    Draw,
    FixedBoothTasks,
    LogisticRegression,
    TwoLayerRegression,
)
from learn.baselines.toys import Noisy, Parabolas

TASKS = {
    "regression": (TwoLayerRegression(size=6), 1e-3),
    "booth": (BoothTasks(conditioning=3.0), 1e-2),
    "mlp": (DigitsPerceptron(samples=12, batch=5, hidden=4), 1e-1),
}
OPTIMIZERS = {
    "gd": torch.optim.SGD,
    "momentum": lambda w, lr: torch.optim.SGD(w, lr=lr, momentum=0.9),
    "adam": torch.optim.Adam,
}
every_task = pytest.mark.parametrize(("tasks", "rate"), TASKS.values(), ids=TASKS)
every_baseline = pytest.mark.parametrize("baseline", [make() for make in BASELINES.values()], ids=BASELINES)


def drawn(tasks, n=3, seed=0):
    return tasks.draw(n, torch.Generator().manual_seed(seed))


def generator():
    return torch.Generator().manual_seed(7)


def literal(tasks, draw, steps, rate, make):
    """One task at a time with torch.optim, on the minibatches that all tasks draw together."""
    source = generator()
    seen = [tasks.minibatch(draw.data, source) for _ in range(steps)]
    runs = []
    for i in range(draw.size):
        w = {name: x[i].clone().requires_grad_() for name, x in draw.parameters.items()}
        whole = {name: x[i] for name, x in draw.data.items()}
        optimizer = make(list(w.values()), lr=rate)
        losses = []
        for minibatch in seen:
            losses.append(tasks.loss(w, whole).item())
            optimizer.zero_grad()
            tasks.loss(w, {name: x[i] for name, x in minibatch.items()}).backward()
            optimizer.step()
        runs.append([*losses, tasks.loss(w, whole).item()])
    return torch.tensor(runs, dtype=torch.float64).T


@every_task
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_is_the_optimizer_of_torch_step_by_step(tasks, rate, name):
    draw = drawn(tasks)
    run = BASELINES[name]().run(tasks, draw, 12, rate, generator())
    expected = literal(tasks, draw, 12, rate, OPTIMIZERS[name])
    # Losses fall by less than 10^3 in 12 steps, and what cancels in them is of the size of the first.
    atol = 1e3 * torch.finfo(torch.float64).eps * float(expected[0].max())
    assert_close(run.losses, expected, rtol=0, atol=atol)
    assert ((expected[1:] - expected[:-1]).abs() > 1e3 * atol).any(0).all(), "there is something to compare"


def test_settings_are_those_of_torch():
    tasks = BoothTasks(conditioning=3.0)
    draw = drawn(tasks)
    ours = Adam(betas=(0.5, 0.8), eps=1e-2).run(tasks, draw, 6, 0.1)
    theirs = literal(
        tasks, draw, 6, 0.1, lambda w, lr: torch.optim.Adam(w, lr=lr, betas=(0.5, 0.8), eps=1e-2)
    )
    assert_close(ours.losses, theirs, rtol=1e-12, atol=1e-12)
    ours = Momentum(0.5).run(tasks, draw, 6, 0.01)
    theirs = literal(tasks, draw, 6, 0.01, lambda w, lr: torch.optim.SGD(w, lr=lr, momentum=0.5))
    assert_close(ours.losses, theirs, rtol=1e-12, atol=1e-12)


def test_without_its_feature_each_is_gradient_descent():
    tasks, logistic = TwoLayerRegression(size=5), LogisticRegression(samples=8, batch=4)
    plain = GradientDescent().run(tasks, drawn(tasks), 5, 1e-3)
    still = Momentum(beta=0.0).run(tasks, drawn(tasks), 5, 1e-3)
    assert_close(still.losses, plain.losses, rtol=0, atol=0)
    draw = drawn(logistic)
    without = GradientDescentTeleport().run(logistic, draw, 5, 0.1, generator())
    assert_close(
        without.losses,
        GradientDescent().run(logistic, draw, 5, 0.1, generator()).losses,
        rtol=0,
        atol=0,
    )
    assert without.jumps == () and without.gains.shape == (0, 3)


@every_task
@every_baseline
def test_rates_are_a_batch(baseline, tasks, rate):
    draw = drawn(tasks)
    rates = torch.tensor([rate / 10, rate], dtype=torch.float64)
    together = baseline.run(tasks, draw, 4, rates, generator())
    assert len(together) == 2
    for r, run in zip(rates, together, strict=True):
        alone = baseline.run(tasks, draw, 4, float(r), generator())
        # Products of matrices round differently in batches of another size.
        assert_close(run.losses, alone.losses, rtol=1e-10, atol=1e-12)
        assert_close(run.rates, alone.rates, rtol=1e-8, atol=0)
        assert_close(run.gains, alone.gains, rtol=1e-8, atol=0)
        assert run.jumps == alone.jumps


@every_task
@every_baseline
def test_shapes(baseline, tasks, rate):
    draw = drawn(tasks)
    before = {name: x.clone() for name, x in draw.parameters.items()}
    run = baseline.run(tasks, draw, 4, rate, generator())
    assert run.losses.shape == (5, 3) and run.rates.shape == (4, 3)
    jumps = 1 if baseline.name == "gd-teleport" else 0
    assert run.gains.shape == run.changes.shape == run.sizes.shape == (jumps, 3)
    assert run.jumps == (0,) * jumps
    assert_close(run.losses[0], vmap(tasks.loss)(draw.parameters, draw.data), rtol=1e-12, atol=1e-12)
    assert_close(draw.parameters, before, rtol=0, atol=0)


@every_baseline
@pytest.mark.parametrize("tasks", [TwoLayerRegression(size=6), BoothTasks()], ids=["regression", "booth"])
def test_what_diverges_does_not_disturb_its_neighbours(baseline, tasks):
    """Some teleport in the midst of it, so that decompositions are asked for numbers that are none."""
    if isinstance(baseline, GradientDescentTeleport):
        baseline = GradientDescentTeleport(every=3, most=None, ascent=Ascent(steps=2))
    draw = drawn(tasks)
    first, wild, last = baseline.run(tasks, draw, 12, [1e-4, 1e200, 1e-3], generator())
    calm = baseline.run(tasks, draw, 12, [1e-4, 1e-3], generator())
    assert wild.losses[0].isfinite().all() and wild.losses[-1].isinf().all()
    for run, alone in zip((first, last), calm, strict=True):
        assert_close(run.losses, alone.losses, rtol=1e-10, atol=1e-12)
        assert run.losses.isfinite().all()
    gone = wild.losses.isinf()
    assert (gone[1:] >= gone[:-1]).all(), "from there on"
    for recorded in (wild.losses, wild.rates, wild.gains, wild.changes, wild.sizes):
        assert not recorded.isnan().any()


class Watchful(GradientDescent):
    """Decomposes what it is given, as teleports may: that raises on numbers that are none."""

    def teleport(self, tasks, parameters, data, step, *, whole):
        w = parameters["W1"]
        torch.linalg.eigvalsh(w @ w.mT)


def test_what_has_diverged_waits_where_it_was_finite():
    tasks = TwoLayerRegression(size=6)
    with pytest.raises(RuntimeError):
        torch.linalg.eigvalsh(torch.full((6, 6), torch.nan, dtype=torch.float64))
    run = Watchful().run(tasks, drawn(tasks), 6, 1e200)
    assert run.losses[1:].isinf().all()


@every_baseline
def test_a_task_without_a_loss_does_not_disturb_its_neighbours(baseline):
    tasks = TwoLayerRegression(size=6)
    draw = drawn(tasks)
    broken = {name: x.clone() for name, x in draw.parameters.items()}
    broken["W1"][1, 0, 0] = torch.nan
    run = baseline.run(tasks, Draw(broken, draw.data), 4, 1e-3)
    whole = baseline.run(tasks, draw, 4, 1e-3)
    assert run.losses[:, 1].isinf().all()
    assert_close(run.losses[:, [0, 2]], whole.losses[:, [0, 2]], rtol=1e-10, atol=1e-12)


def test_what_comes_back_to_finite_losses_has_diverged_nevertheless():
    """A rate that overflows in one step, on a loss that would be finite again at the start."""
    tasks = Parabolas(curvature=1.0)
    run = GradientDescent().run(tasks, tasks.draw(1), 3, 1e300)
    assert run.losses[0, 0] == 0.5 and run.losses[1:].isinf().all()


def test_effective_rates():
    tasks = TwoLayerRegression(size=6)
    draw = drawn(tasks)
    assert_close(GradientDescent().run(tasks, draw, 3, 1e-4).rates, torch.full((3, 3), 1e-4).double())
    parabolas = Parabolas(curvature=1e-6)
    # The gradient hardly changes: the velocity is 1, 1.9, 2.71 of them.
    slow = Momentum().run(parabolas, parabolas.draw(1), 3, 0.1).rates[:, 0]
    assert_close(slow, torch.tensor([0.1, 0.19, 0.271], dtype=torch.float64), rtol=1e-6, atol=0)
    # Adam moves every entry by the rate in its first step: by rate * sqrt(2) here.
    booth = FixedBoothTasks()
    start = booth.draw(1)
    first = Adam().run(booth, start, 1, 0.1).rates[0, 0]
    gradient = torch.func.grad(booth.loss)({"w": start.parameters["w"][0]}, {})["w"]
    assert_close(first, 0.1 * 2**0.5 / gradient.norm(), rtol=1e-6, atol=0)


def test_a_step_sees_a_minibatch_and_all_data_are_recorded():
    tasks = Noisy()
    draw = tasks.draw(4)
    run = GradientDescent().run(tasks, draw, 2, 0.01, generator())
    source = generator()
    w = draw.parameters["w"]
    for step in range(2):
        assert_close(run.losses[step], 5 * w.square(), rtol=1e-14, atol=0)
        w = w - 0.01 * tasks.minibatch(draw.data, source)["c"] * w
    assert_close(run.losses[2], 5 * w.square(), rtol=1e-14, atol=0)


@every_baseline
@pytest.mark.parametrize(
    ("steps", "rate", "message"),
    [
        (0, 0.1, "there must be at least 1 step; got 0"),
        (1.5, 0.1, "there must be at least 1 step; got 1.5"),
        (3, 0.0, "learning rates must be positive; got 0.0"),
        (3, float("nan"), "learning rates must be positive; got nan"),
        (3, [0.1, -1.0], r"learning rates must be positive; got \[0.1, -1.0\]"),
        (3, [], r"learning rates must be positive; got \[\]"),
    ],
)
def test_what_makes_no_run_is_refused(baseline, steps, rate, message):
    tasks = Parabolas()
    with pytest.raises(ValueError, match=message):
        baseline.run(tasks, tasks.draw(2), steps, rate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Momentum(beta=1.0), r"beta must lie in \[0, 1\); got 1.0"),
        (lambda: Adam(betas=(0.9, 1.5)), r"betas must lie in \[0, 1\); got \(0.9, 1.5\)"),
        (lambda: Adam(eps=0.0), "eps must be positive; got 0.0"),
    ],
)
def test_settings_that_make_no_rule_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names():
    assert all(make.name == name for name, make in BASELINES.items())
