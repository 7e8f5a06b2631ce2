"""The published first-order variant: what it changes, and that nobody takes it for exact."""

from math import inf

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.teleport import SOLVERS, LieAscent, TangentAscent, Teleport, always
from networks import backward, linear_symmetries, mlp, snapshot
from teleport.solvers.solving import Any, arrived, point_of, solve, squared_norm, the_loss


def two_layers():
    model = mlp(5, 4, 3, activation=nn.Identity, bias=False).double()
    x, y = torch.randn(9, 5).double(), torch.randn(9, 3).double()
    return list(linear_symmetries(model)), point_of(model, x, y)


def test_it_is_the_published_algorithm():
    """Literally: T starts at 0, W1 becomes (1 + T) W1, W2 becomes W2 (1 - T), and T climbs."""
    symmetries, point = two_layers()
    eye, t = torch.eye(4).double(), torch.zeros(4, 4).double()

    def moved(t):
        return {
            "0.weight": (eye + t) @ point.tensors["0.weight"],
            "2.weight": point.tensors["2.weight"] @ (eye - t),
        }

    for _ in range(4):
        t = t.requires_grad_()
        (slope,) = torch.autograd.grad(squared_norm(point, moved(t)), t)
        t = (t + 1e-3 * slope).detach()
    found = solve(TangentAscent(4, rate=1e-3), Any(squared_norm), symmetries, point, inf)
    assert_close(dict(found.displaced), moved(t), rtol=1e-12, atol=1e-14)
    assert found.elements == [None]


def test_the_loss_changes_at_second_order_and_the_exact_one_does_not():
    symmetries, point = two_layers()
    here = point.loss(point.tensors)
    changes = []
    for radius in (0.02, 0.01):
        found = solve(TangentAscent(1), Any(squared_norm), symmetries, point, radius)
        changes.append((point.loss(found.displaced) - here).abs().item())
        exact = solve(LieAscent(1), Any(squared_norm), symmetries, point, radius)
        assert_close(point.loss(arrived(symmetries, point, exact.elements)), here, rtol=1e-13, atol=0.0)
    assert changes[0] > 1e-9
    assert changes[0] / changes[1] == pytest.approx(4.0, rel=0.2)


def test_what_is_constant_to_first_order_moves_nothing():
    symmetries, point = two_layers()
    # The loss itself has no slope on the orbit; the noise of a slope is not followed.
    found = solve(TangentAscent(3), Any(the_loss), symmetries, point, 1e-3)
    assert found.displaced is None and "changes the objective" in found.skipped


def test_in_training_a_bound_undoes_it():
    model = mlp(5, 4, 3, activation=nn.Identity).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    backward(model, x, y)
    optimizer.step()
    backward(model, x, y)
    before = snapshot(model, optimizer)
    options = {
        "objective": Any(squared_norm),
        "solver": TangentAscent(),
        "loss": lambda: nn.functional.mse_loss(model(x), y),
        "schedule": always,
        "radius": 0.3,
    }
    jump = Teleport(optimizer, linear_symmetries(model), **options, max_loss_change=1e-9).step()
    assert "undone" in jump.skipped
    assert_close(snapshot(model, optimizer), before, rtol=0.0, atol=0.0)
    jump = Teleport(optimizer, linear_symmetries(model), **options, max_loss_change=1.0).step()
    assert jump.skipped is None and jump.loss_after != jump.loss_before
    assert jump.gradient_norm_after == pytest.approx(jump.after**0.5, rel=1e-10)


def test_it_is_registered():
    assert SOLVERS["tangent-ascent"] is TangentAscent
