"""Ascent on group elements: against finite differences, and what becomes of numbers that are not finite."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.reproduce._actions import First, Second, zeros
from isoloss.reproduce._ascent import Ascent, _gradient, ascend, follow, gradient_norm
from isoloss.reproduce._network import outputs
from isoloss.reproduce.experiments._shared_regression import problem, squares

EXACT = First("exact")


@pytest.fixture
def task():
    return problem(0)


def test_objective_is_the_squared_gradient_norm(task):
    task.loss().backward()
    norm = sum(p.grad.square().sum() for p in task.model.parameters())
    assert_close(gradient_norm(squares, task.x, task.y)(task.weights), norm.detach())


def test_mahalanobis_norm_weighs_every_entry(task):
    task.loss().backward()
    gradients = [p.grad for p in task.model.parameters()]
    scale = [torch.rand_like(g) for g in gradients]
    norm = sum((a * g * g).sum() for a, g in zip(scale, gradients, strict=True))
    assert_close(gradient_norm(squares, task.x, task.y, scale)(task.weights), norm)


@pytest.mark.parametrize("action", [First(), EXACT, Second("moved"), Second("moved", "difference")], ids=str)
def test_gradient_is_that_of_finite_differences(task, action):
    objective = gradient_norm(squares, task.x, task.y)
    slopes = _gradient(action, task.weights, zeros(task.weights), task.x, objective)
    direction = [torch.randn_like(t) for t in slopes]

    def value(step):
        return objective(action(task.weights, [step * d for d in direction], task.x)).item()

    step = 1e-6  # central differences: error step^2 against rounding eps / step
    expected = (value(step) - value(-step)) / (2 * step)
    assert sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)).item() == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize("restart", [True, False])
def test_small_steps_raise_and_negative_ones_lower(task, restart):
    action = First("exact", "difference")  # the papers' form moves at the identity already
    objective = gradient_norm(squares, task.x, task.y)
    here = objective(task.weights)
    up, down = (
        ascend(action, task.weights, task.x, objective, steps=3, rate=sign * 1e-10, restart=restart)
        for sign in (1, -1)
    )
    assert objective(down.weights) < here < objective(up.weights)
    # The exact action keeps the loss; four digits more than the change of the objective.
    assert_close(squares(outputs(up.weights, task.x), task.y), task.loss().detach(), rtol=1e-10, atol=0)


def test_steps_are_cut(task):
    objective = gradient_norm(squares, task.x, task.y)
    found = ascend(EXACT, task.weights, task.x, objective, steps=1, rate=1.0, longest=0.2)
    assert torch.stack([t.norm() for t in found.total]).norm().item() == pytest.approx(0.2)
    assert len(ascend(EXACT, task.weights, task.x, objective, steps=4, rate=1e-9).path) == 4


def test_gradients_that_are_not_finite_end_the_ascent(task):
    def infinite(weights):
        return sum(w.sum() for w in weights) * torch.inf

    found = ascend(EXACT, task.weights, task.x, infinite, steps=3, rate=1.0)
    assert not any(w.isfinite().any() for w in found.weights)


def test_tangents_follow_by_the_differential(task):
    weights, tangents = task.weights, tuple(torch.randn_like(w) for w in task.weights)
    path = tuple(tuple(0.05 * torch.randn(h, h, dtype=torch.float64) for h in (6, 7)) for _ in range(2))
    ascent = Ascent(weights, path)

    def moved(step):
        ws = tuple(w + step * t for w, t in zip(weights, tangents, strict=True))
        for elements in path:
            ws = EXACT(ws, elements, task.x)
        return ws

    step = 1e-6
    for found, a, b in zip(
        follow(EXACT, weights, ascent, task.x, tangents), moved(step), moved(-step), strict=True
    ):
        assert_close(found, (a - b) / (2 * step), rtol=1e-5, atol=1e-6)
