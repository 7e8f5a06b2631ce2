"""Logistic regression on images, written out."""

import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn.tasks import LogisticRegression


def one():
    tasks = LogisticRegression(samples=30, batch=None)
    drawn = tasks.draw(1, torch.Generator().manual_seed(0))
    return tasks, *({name: t[0] for name, t in part.items()} for part in (drawn.parameters, drawn.data))


def test_loss_and_gradient_are_those_of_the_textbook():
    tasks, parameters, data = one()
    x, y = data["inputs"], data["targets"]
    logits = x @ parameters["weight"].mT + parameters["bias"]
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert_close(tasks.loss(parameters, data), -p[torch.arange(30), y].log().mean())
    error = (p - torch.eye(10, dtype=torch.float64)[y]) / 30
    assert_close(grad(tasks.loss)(parameters, data), {"weight": error.mT @ x, "bias": error.sum(0)})


def test_the_symmetry_that_is_left_out_keeps_loss_and_gradient():
    """Adding a vector to all rows: every other symmetry would change the gradient."""
    tasks, parameters, data = one()
    moved = parameters | {"weight": parameters["weight"] + torch.randn(64, dtype=torch.float64)}
    assert_close(tasks.loss(moved, data), tasks.loss(parameters, data))
    assert_close(grad(tasks.loss)(moved, data), grad(tasks.loss)(parameters, data))
    assert tasks.actions == ()


def test_weights_are_drawn_as_by_linear():
    drawn = LogisticRegression().draw(200, torch.Generator().manual_seed(0)).parameters
    for t in drawn.values():
        # Uniform up to 1 / sqrt(64); four standard errors of the mean square, relative variance 4/5.
        assert t.abs().max() <= 1 / 8
        assert abs((t * 8).square().mean() - 1 / 3) < 4 / 3 * (0.8 / t.numel()) ** 0.5
    of_torch = torch.nn.Linear(64, 20_000)
    for t in of_torch.parameters():
        assert t.abs().max() <= 1 / 8 and abs((t * 8).square().mean() - 1 / 3) < 4 / 3 * (0.8 / 20_000) ** 0.5
