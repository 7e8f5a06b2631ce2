"""Jumps found on other minibatches: one after another, or on their average."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD, Adam
from torch.testing import assert_close

from isoloss.symmetry import Symmetries
from isoloss.teleport import (
    GradientNorm,
    LieAscent,
    NullSpaceProjection,
    Teleport,
    TransportedAscent,
    always,
    at,
    averaged,
)
from networks import backward, gradients, mlp, mlp_symmetries, snapshot
from teleport.solvers.solving import Any, squared_norm


def same(a, b):
    assert_close(a, b, rtol=0.0, atol=0.0)


def near(a, b):
    assert_close(a, b, rtol=1e-11, atol=1e-13)


def ready(cls=Adam):
    torch.manual_seed(5)
    model = mlp(5, 8, 7, 3).double()
    optimizer = cls(model.parameters(), lr=0.05)
    x, y = torch.randn(4, 16, 5).double(), torch.randn(4, 16, 3).double()
    closures = [lambda i=i: mse_loss(model(x[i]), y[i]) for i in range(4)]
    for _ in range(2):
        backward(model, x[0], y[0])
        optimizer.step()
    backward(model, x[0], y[0])
    return model, optimizer, x, y, closures


@pytest.mark.parametrize("solver", [TransportedAscent(), LieAscent(3)], ids=["transported", "lie"])
def test_one_after_another_is_a_teleport_on_each(solver):
    """Literally: put the gradients of each minibatch in place, jump, and move the first one's along at the end."""
    model, optimizer, _, _, closures = ready()
    options = {"schedule": always, "solver": solver, "radius": 0.2}
    jump = Teleport(optimizer, mlp_symmetries(model), minibatches=lambda: closures[1:], **options).step()
    twin, other, x, y, _ = ready()
    single = Teleport(other, mlp_symmetries(twin), **options)
    sizes = []
    for i in (1, 2, 3):
        backward(twin, x[i], y[i])
        sizes.append(single.step().size)
    backward(twin, x[0], y[0])
    near(snapshot(model, optimizer), snapshot(twin, other))
    assert jump.size == pytest.approx(sum(sizes)) == pytest.approx(0.6)
    assert jump.gradient_norm_after == pytest.approx(nn.utils.get_total_norm(gradients(twin).values()).item())


def test_on_average_is_a_teleport_on_all_examples():
    model, optimizer, _, _, closures = ready()
    options = {"schedule": always, "radius": 0.2}
    jump = Teleport(
        optimizer, mlp_symmetries(model), minibatches=lambda: [averaged(closures[1:])], **options
    ).step()
    twin, other, x, y, _ = ready()
    backward(twin, x[1:].flatten(0, 1), y[1:].flatten(0, 1))
    expected = Teleport(other, mlp_symmetries(twin), **options).step()
    backward(twin, x[0], y[0])
    near(snapshot(model, optimizer), snapshot(twin, other))
    assert (jump.before, jump.after) == (pytest.approx(expected.before), pytest.approx(expected.after))
    assert jump.gradient_norm_before != pytest.approx(expected.gradient_norm_before)


def test_it_reports_the_minibatches_and_the_gradients_that_wait():
    model, optimizer, x, y, closures = ready(SGD)
    befores = []
    for closure in closures[1:3]:
        found = torch.autograd.grad(closure(), list(model.parameters()))
        befores.append(sum(g.square().sum() for g in found).item())
    mine = nn.utils.get_total_norm(gradients(model).values()).item()
    teleport = Teleport(
        optimizer,
        mlp_symmetries(model),
        schedule=always,
        minibatches=lambda: closures[1:3],
        measure=closures[0],
        loss=closures[0],
        max_loss_change=1e-10,
    )
    jump = teleport.step()
    assert jump.before < jump.after
    assert jump.before == pytest.approx(sum(befores) / 2, rel=0.5) and jump.before != befores[0]
    assert jump.gradient_norm_before == pytest.approx(mine, rel=1e-12)
    assert jump.measured_gradient_norm_before == pytest.approx(mine, rel=1e-12)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-11)
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-12)
    assert (teleport.steps, teleport.jumps) == (1, 1)


def test_gradients_need_not_be_there():
    model, optimizer, _, _, closures = ready()
    optimizer.zero_grad()
    jump = Teleport(optimizer, mlp_symmetries(model), schedule=always, minibatches=lambda: closures).step()
    assert jump.skipped is None and jump.gradient_norm_after is None
    assert all(p.grad is None for p in model.parameters())


def test_a_held_out_loss_bounds_moves_that_hold_on_a_minibatch_only():
    """The null space is that of the minibatch; the loss that bounds the change is of other examples."""
    model, optimizer, x, y, _ = ready()
    few = lambda: mse_loss(model(x[1][:3]), y[1][:3])  # noqa: E731
    before = snapshot(model, optimizer)
    options = {
        "schedule": always,
        "solver": NullSpaceProjection(2),
        "loss": lambda: mse_loss(model(x[0]), y[0]),
        "radius": 0.3,
    }
    jump = Teleport(
        optimizer, Symmetries((), model), minibatches=lambda: [few], max_loss_change=1e-9, **options
    ).step()
    assert "undone" in jump.skipped
    same(snapshot(model, optimizer), before)
    loss = few().item()
    jump = Teleport(
        optimizer, Symmetries((), model), minibatches=lambda: [few], max_loss_change=10.0, **options
    ).step()
    assert jump.skipped is None
    assert few().item() == pytest.approx(loss, rel=1e-10)
    found = gradients(model)
    backward(model, x[0], y[0])
    near(found, gradients(model))


def test_an_iterator_that_is_used_up_is_refused():
    model, optimizer, _, _, closures = ready()
    many = iter(closures)
    teleport = Teleport(optimizer, mlp_symmetries(model), schedule=always, minibatches=lambda: many)
    assert teleport.step().skipped is None
    before = snapshot(model, optimizer)
    with pytest.raises(ValueError, match=r"minibatches\(\) must be a list of at least one closure; got none"):
        teleport.step()
    same(snapshot(model, optimizer), before)
    with pytest.raises(
        ValueError, match="minibatches must be a function without arguments; got list; give lambda"
    ):
        Teleport(optimizer, mlp_symmetries(model), minibatches=closures)
    with pytest.raises(
        ValueError, match="averaged: closures must be a list of at least one closure; got none"
    ):
        averaged([])


def test_if_every_minibatch_is_skipped_the_report_says_why():
    model, optimizer, _, _, closures = ready()
    objective = Any(lambda point, tensors: point.loss(tensors))
    options = {"schedule": always, "solver": LieAscent(2), "minibatches": lambda: closures}
    jump = Teleport(optimizer, mlp_symmetries(model), objective, **options).step()
    assert "changes the objective" in jump.skipped


@pytest.mark.parametrize("way", ["in turn", "averaged"])
def test_training_on_digits(way):
    """SGD with a small rate gains from raised gradients: the same number of steps, a lower loss."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16.0, dtype=torch.float32), torch.tensor(data.target)
    ends = {}
    for teleports in (False, True):
        torch.manual_seed(0)
        model = mlp(64, 32, 32, 10)
        optimizer = SGD(model.parameters(), lr=0.1)

        def closure(i, model=model):
            part = slice(50 * i % 1700, 50 * i % 1700 + 50)
            return cross_entropy(model(x[part]), y[part])

        def minibatches(closure=closure):
            closures = [lambda i=i: closure(i) for i in (30, 31, 32)]
            return [averaged(closures)] if way == "averaged" else closures

        teleport = Teleport(
            optimizer, mlp_symmetries(model), schedule=at(10, 30, 50), minibatches=minibatches, radius=0.2
        )
        for step in range(100):
            optimizer.zero_grad()
            closure(step).backward()
            if teleports:
                held = closure(step).item()
                teleport.step()
                assert closure(step).item() == pytest.approx(held, rel=1e-5)
            optimizer.step()
        ends[teleports] = cross_entropy(model(x), y).item()
    assert ends[True] < 0.95 * ends[False]


def test_objectives_that_are_evaluated_see_the_minibatch():
    model, optimizer, _, _, closures = ready()
    asked = []

    def f(point, tensors):
        asked.append(point.loss(tensors).item())
        return squared_norm(point, tensors)

    expected = closures[2]().item()
    Teleport(
        optimizer,
        mlp_symmetries(model),
        Any(f),
        always,
        solver=LieAscent(2),
        minibatches=lambda: [closures[2]],
    ).step()
    assert asked == [pytest.approx(expected, rel=1e-12)] * 3
    assert GradientNorm().passes == 0
