"""Training is the plain loop; looking at it changes nothing."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from isoloss.demo import Data
from isoloss.demo import _train as training
from isoloss.demo._models import build
from isoloss.demo._train import evaluate, gradient_norm, train


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 1, 8, 8, generator=g), torch.randint(3, (50,), generator=g)
    return Data("noise", x[:40], y[:40], x[40:], y[40:], 3)


class Never:
    def step(self):
        return None


def trained(data, *, lr=0.1, teleport=None, evaluate_at=frozenset()):
    model = build("mlp", data.shape, data.classes, 16, seed=3)
    history = train(
        model,
        data,
        torch.optim.SGD(model.parameters(), lr=lr),
        teleport,
        epochs=3,
        batch=16,
        generator=torch.Generator().manual_seed(5),
        evaluate_at=evaluate_at,
    )
    return model, history


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_is_the_textbook_loop(data):
    model = build("mlp", data.shape, data.classes, 16, seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    g = torch.Generator().manual_seed(5)
    for _ in range(3):
        order = torch.randperm(40, generator=g)
        for i in range(0, 40, 16):
            chosen = order[i : i + 16]
            optimizer.zero_grad()
            cross_entropy(model(data.x[chosen]), data.y[chosen]).backward()
            optimizer.step()
    assert same(trained(data)[0], model)


def test_neither_evaluating_nor_a_teleport_that_never_jumps_changes_anything(data):
    plain, history = trained(data)
    watched, full = trained(data, teleport=Never(), evaluate_at=frozenset(range(9)))
    assert same(plain, watched)
    assert history["training_loss"][-1] == full["training_loss"][-1] and full["jumps"] == []


def test_history_has_every_point_and_the_end(data):
    _, history = trained(data, evaluate_at=frozenset({0, 4}))
    assert history["epochs"] == [0, 4 / 3, 3]
    assert history["seconds"] == sorted(history["seconds"]) and len(history["gradient_norm"]) == 3
    assert history["training_loss"][0] > history["training_loss"][-1]
    _, bare = trained(data)
    assert bare["epochs"] == [3] and "gradient_norm" not in bare


def test_divergence_stops_the_run_and_is_told_without_nan(data):
    _, history = trained(data, lr=1e30, evaluate_at=frozenset({0}))
    assert (
        history["diverged"] and history["training_loss"][-1] is None and history["gradient_norm"][-1] is None
    )
    assert history["epochs"][-1] < 3


def test_gradient_norm_is_that_of_the_mean_loss_and_leaves_grad_alone(data, monkeypatch):
    model = build("mlp", data.shape, data.classes, 16, seed=0).double()
    data = Data("noise", data.x.double(), data.y, data.x_validation.double(), data.y_validation, 3)
    whole = gradient_norm(model, data)
    assert all(p.grad is None for p in model.parameters())
    cross_entropy(model(data.x), data.y).backward()
    expected = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters()))
    # Sums of 40 terms in another order, in float64.
    assert whole == pytest.approx(expected, rel=40 * torch.finfo(torch.float64).eps)
    monkeypatch.setattr(training, "CHUNK", 7)
    assert gradient_norm(model, data) == pytest.approx(expected, rel=40 * torch.finfo(torch.float64).eps)


def test_evaluation_in_chunks_is_the_mean_over_all(data, monkeypatch):
    model = build("mlp", data.shape, data.classes, 16, seed=0)
    monkeypatch.setattr(training, "CHUNK", 7)
    values = evaluate(model, data, gradient=False)
    logits = model(data.x_validation)
    assert values["validation_loss"] == pytest.approx(
        cross_entropy(logits, data.y_validation).item(), rel=1e-6
    )
    assert values["validation_accuracy"] == (logits.argmax(1) == data.y_validation).double().mean().item()
