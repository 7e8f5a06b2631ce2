"""Gradients and Hessian-vector products: both ways of computing them, against a dense Hessian."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from isoloss.teleport import GradientNorm, Loss, PredictedDecrease
from isoloss.teleport._derivatives import gradients, gradients_and_hvp, inner
from landscapes import landscape

ROOT = torch.tensor([[2.0, 1.0], [0.0, 3.0]], dtype=torch.float64)


def cubic(w):
    return (ROOT @ w["a"]).pow(3).sum() + w["a"].sum() * w["b"].square().sum()


def tensors():
    return {
        "a": torch.tensor([1.0, -1.0]).double(),
        "b": torch.tensor([2.0]).double(),
        "c": torch.ones(1).double(),
    }


def test_they_are_those_of_the_textbook():
    w = tensors()
    rows = ROOT @ w["a"]
    g, hvp = gradients_and_hvp(cubic, w, ["a", "b", "c"])
    assert_close(g["a"], ROOT.mT @ (3 * rows**2) + 4.0)
    assert_close(g["b"], 0 * w["b"])
    assert_close(g["c"], torch.zeros(1).double())
    v = {"a": torch.tensor([0.5, 2.0]).double(), "b": torch.ones(1).double(), "c": torch.ones(1).double()}
    product = hvp(v)
    assert_close(product["a"], ROOT.mT @ (6 * rows * (ROOT @ v["a"])) + 2 * w["b"] * v["b"])
    assert_close(product["b"], 2 * w["b"] * v["a"].sum() + 2 * w["a"].sum() * v["b"])
    assert_close(product["c"], torch.zeros(1).double())


def test_both_ways_agree_inside_and_outside_of_transforms():
    w, v = tensors(), {n: t + 1.0 for n, t in tensors().items()}

    def both(w):
        g, hvp = gradients_and_hvp(cubic, w, ["a", "b"])
        return inner(g, g) + inner(hvp({n: v[n] for n in g}), g) + gradients(cubic, w, ["a"])["a"].sum()

    leaves = {n: t.requires_grad_() for n, t in tensors().items()}
    found = torch.autograd.grad(both(leaves), [leaves["a"], leaves["b"]])
    by_func = torch.func.grad(both)(w)
    assert_close(list(found), [by_func["a"], by_func["b"]])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_a_graph_is_kept_only_where_gradients_are_on(mode):
    with mode():
        g, hvp = gradients_and_hvp(cubic, tensors(), ["a", "b"])
        made = [*g.values(), *hvp(g).values(), *gradients(cubic, tensors(), ["a"]).values()]
        expected = torch.is_grad_enabled()
    assert any(x.requires_grad for x in made) is expected


def test_a_linear_function_has_no_hessian():
    g, hvp = gradients_and_hvp(lambda w: 3 * w["a"].sum(), tensors(), ["a"])
    assert_close(g["a"], torch.full((2,), 3.0).double())
    assert not hvp(g)["a"].any()


def test_models_that_checkpoint_can_be_evaluated():
    model, _, point = landscape(activation=nn.Tanh)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    losses = [
        Loss(lambda run=run: nn.functional.mse_loss(run(x), y), model)
        for run in (model, lambda x: checkpoint(model, x, use_reentrant=False))
    ]
    for objective in (GradientNorm(), PredictedDecrease()):
        plain, checkpointed = (objective.evaluate(replace(point, loss=loss), {}) for loss in losses)
        assert_close(plain, checkpointed, rtol=1e-13, atol=0.0)
