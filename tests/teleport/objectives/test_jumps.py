"""Every objective in a teleport: better where it was predicted to be, at the same loss, by whatever solver."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.teleport import Loss, Teleport, TransportedAscent, always
from landscapes import MADE, landscape
from networks import gradients, mlp_symmetries

TRANSPORTED = ("gradient-norm", "balance", "mahalanobis")


def ready(name, **options):
    model, optimizer, point = landscape(torch.optim.Adam)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    loss = lambda: nn.functional.mse_loss(model(x), y)  # noqa: E731
    optimizer.zero_grad()
    loss().backward()
    return model, optimizer, loss, replace(point, loss=Loss(loss, model)), MADE[name](model, point, **options)


@pytest.mark.parametrize("solver", [None, "lie-ascent", "random-search"])
@pytest.mark.parametrize("lower", [True, False], ids=["lower", "higher"])
@pytest.mark.parametrize("name", MADE)
def test_a_jump_goes_where_it_says(name, lower, solver):
    model, optimizer, loss, point, objective = ready(name, lower=lower)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    here = replace(point, gradients=gradients(model), tensors=before)
    value = loss().item()
    options = {"loss": loss, "max_loss_change": 1e-12, "generator": torch.Generator().manual_seed(0)}
    # The scaled weights of A stay what they were before the jump, which is what the prediction means.
    options |= {"momentum": "keep", "second_moments": "keep"}
    jump = Teleport(optimizer, mlp_symmetries(model), objective, always, 0.1, solver, **options).step()
    assert jump.skipped is None
    assert loss().item() == pytest.approx(value, rel=1e-12)
    there = {n: p.detach() for n, p in model.named_parameters()}
    assert jump.before == pytest.approx(objective.evaluate(here, before).item(), rel=1e-10)
    assert jump.after == pytest.approx(objective.evaluate(here, there).item(), rel=1e-9)
    assert jump.after < jump.before if lower else jump.after > jump.before
    assert 0.0 < jump.size <= 0.1 * (1 + 1e-9)
    moved = gradients(model)
    optimizer.zero_grad()
    loss().backward()
    assert_close(moved, gradients(model), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", MADE)
def test_the_default_solver_is_the_cheapest_that_knows_it(name):
    model, optimizer, loss, _, objective = ready(name)
    teleport = Teleport(optimizer, mlp_symmetries(model), objective, loss=loss)
    assert isinstance(teleport.solver, TransportedAscent) is (name in TRANSPORTED)


@pytest.mark.parametrize("name", TRANSPORTED)
def test_what_is_transported_asks_the_network_nothing(name):
    model, optimizer, _, _, objective = ready(name)

    def never():
        raise AssertionError("a pass")

    assert (
        Teleport(optimizer, mlp_symmetries(model), objective, always, 0.1, loss=never).step().skipped is None
    )
