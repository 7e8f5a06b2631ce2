"""Training with moves: the switch-off case is plain torch, and the history says what happened."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.reproduce._network import Perceptron, act, outputs, unact
from isoloss.reproduce._training import put_, reset_, train
from isoloss.reproduce.experiments._shared_regression import optimizer, problem, squares


def run(task, chosen, epochs, moves=None, watch=None):
    return train(
        task.model,
        chosen,
        squares,
        lambda _: [(task.x, task.y)],
        epochs,
        watch=watch or (lambda: {"loss": task.loss().item()}),
        moves=moves,
    )


def test_without_moves_it_is_plain_descent():
    task, twin = problem(1), problem(1)
    history = run(task, optimizer("AdaGrad", task, 0.1), 7)
    other = optimizer("AdaGrad", twin, 0.1)
    for _ in range(7):
        other.zero_grad()
        twin.loss().backward()
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(task.weights, twin.weights, strict=True))
    assert history["epochs"] == list(range(8)) and history["loss"][-1] == twin.loss().item()
    assert history["jumps"] == [] and not history["diverged"]
    assert len(history["seconds"]) == 8 and history["seconds"] == sorted(history["seconds"])


def test_moves_happen_before_their_epoch_one_after_another():
    task = problem(1)

    def shrink():
        put_(task.model, [w / 2 for w in task.weights])
        return {"told": 1}

    history = run(task, optimizer("GD", task, 1e-5), 3, moves={1: [shrink, shrink]})
    first, second = history["jumps"]
    assert first["epoch"] == 1 and first["told"] == 1
    assert first["before"]["loss"] == history["loss"][1] and first["after"] == second["before"]
    assert second["after"]["loss"] < first["after"]["loss"]
    assert 0 < history["move_seconds"] < history["seconds"][-1]


def test_divergence_ends_training():
    task = problem(1)
    history = run(task, optimizer("GD", task, 1e6), 50)
    assert history["diverged"] and len(history["loss"]) < 50


def test_weights_that_are_not_finite_are_not_written():
    task = problem(1)
    before = task.weights
    put_(task.model, [before[0] + 1, before[1] * torch.nan, before[2]])
    assert all(torch.equal(a, b) for a, b in zip(task.weights, before, strict=True))


@pytest.mark.parametrize("name", ["GD", "momentum", "AdaGrad"])
def test_reset_is_as_good_as_a_new_optimizer(name):
    task, twin = problem(2), problem(2)
    chosen = optimizer(name, task, 1e-3)
    run(task, chosen, 3)
    put_(twin.model, task.weights)
    reset_(chosen)
    run(task, chosen, 3)
    run(twin, optimizer(name, twin, 1e-3), 3)
    assert all(torch.equal(a, b) for a, b in zip(task.weights, twin.weights, strict=True))


def test_network_is_what_its_weights_say():
    model = Perceptron((3, 4, 5, 2), torch.Generator().manual_seed(0))
    x = torch.randn(6, 3)
    assert_close(model(x), outputs(model.weights, x))
    assert_close(unact(act(x)), x)
    twin = Perceptron((3, 4, 5, 2), torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(model.weights, twin.weights, strict=True))
    bounds = [w.abs().max() <= w.shape[1] ** -0.5 for w in model.weights]
    assert all(bounds)
