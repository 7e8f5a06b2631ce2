import copy

import pytest
import torch
from torch import nn
from torch.func import grad, jvp, vmap
from torch.nn.functional import mse_loss
from torch.testing import assert_close

from isoloss.teleport import Loss
from networks import Attention, backward, gradients, mlp, snapshot


def training(model, *shape):
    model = model.double()
    x = torch.randn(*shape, dtype=torch.float64)
    y = torch.randn_like(model(x)).detach()
    # Not mse_loss, whose backward torch (2.13) cannot differentiate forwards.
    return model, (lambda: (model(x) - y).square().mean()), x, y


def elsewhere(model):
    return {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in model.named_parameters()}


def batch_norm():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))


NETWORKS = {
    "mlp": (lambda: mlp(3, 4, 2, activation=nn.Tanh), (6, 3)),
    "batch norm, dropout": (batch_norm, (6, 3)),
    "attention": (Attention, (2, 5, 12)),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), (6, 3)),
}


def network(name):
    make, shape = NETWORKS[name]
    return training(make(), *shape)


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_it_is_the_loss_of_a_model_with_these_parameters(name):
    model, closure, x, y = network(name)
    there = elsewhere(model)
    moved = copy.deepcopy(model)
    moved.load_state_dict(there)
    expected = backward(moved, x, y)
    loss = Loss(closure, model)
    # Attention takes another kernel here: a few roundings of 1e-16 each.
    assert_close(loss(there), expected, rtol=1e-13, atol=0.0)
    assert_close(dict(grad(loss)(there)), gradients(moved), rtol=1e-11, atol=1e-13)
    assert not torch.equal(loss({}), expected)


def test_absent_names_are_the_models_own():
    model, closure, *_ = network("mlp")
    loss = Loss(closure, model)
    assert torch.equal(loss({}), closure())
    changed = torch.zeros_like(model[0].weight)
    partly = loss({"0.weight": changed})
    with torch.no_grad():
        model[0].weight.copy_(changed)
    assert torch.equal(partly, closure())


@pytest.mark.parametrize("name", NETWORKS)
def test_it_leaves_no_trace_and_draws_the_same_numbers(name):
    model, closure, x, y = network(name)
    backward(model, x, y)
    loss = Loss(closure, model)
    before = snapshot(model), torch.get_rng_state()
    there = elsewhere(model)
    torch.set_rng_state(before[1])
    first = loss(there)
    torch.rand(3)  # what a solver may draw from the global generator changes nothing
    drawn = torch.get_rng_state()
    assert torch.equal(loss(there), first)
    grad(loss)(there)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert_close(snapshot(model), before[0], rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", ["mlp", "batch norm, dropout", "attention"])
def test_it_has_second_derivatives_both_ways(name):
    model, closure, *_ = network(name)
    loss, there, along = Loss(closure, model), elsewhere(model), elsewhere(model)
    leaves = {n: t.clone().requires_grad_() for n, t in there.items()}
    first = torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=True)
    slope = sum((g * a).sum() for g, a in zip(first, along.values(), strict=True))
    backwards = torch.autograd.grad(slope, list(leaves.values()), allow_unused=True)
    forwards = jvp(grad(loss), (there,), (along,))[1]
    for b, f in zip(backwards, forwards.values(), strict=True):
        assert_close(f if b is None else b, f, rtol=1e-10, atol=1e-12)
    assert any(f.abs().max() > 1e-3 for f in forwards.values())


@pytest.mark.parametrize("name", ["mlp", "batch norm, dropout", "attention"])
def test_it_maps_over_stacked_parameters(name):
    model, closure, *_ = network(name)
    loss, points = Loss(closure, model), [elsewhere(model) for _ in range(3)]
    stacked = {n: torch.stack([p[n] for p in points]) for n in points[0]}
    assert_close(vmap(loss, randomness="same")(stacked), torch.stack([loss(p) for p in points]))


class TwoNames(nn.Module):
    """One layer under two names, and a weight in two layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second, self.third, self.out = self.first, nn.Linear(3, 3), nn.Linear(3, 2)
        self.third.weight = self.first.weight

    def forward(self, x):
        for layer in (self.first, self.second, self.third):
            x = layer(x).tanh()
        return self.out(x)


def test_a_module_under_two_names_is_put_back_and_moves_as_one():
    model, closure, x, y = training(TwoNames(), 6, 3)
    before = {n: (id(p), p.detach().clone()) for n, p in model.named_parameters(remove_duplicate=False)}
    there = elsewhere(model)
    moved = copy.deepcopy(model)
    moved.load_state_dict(there, strict=False)
    expected = (moved(x) - y).square().mean()
    loss = Loss(closure, model)
    assert_close(loss(there), expected, rtol=1e-13, atol=0.0)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert before.keys() == after.keys() and all(id(after[n]) == i for n, (i, _) in before.items())
    assert all(torch.equal(after[n], p) for n, (_, p) in before.items())
    assert_close(dict(grad(loss)(there)), gradients_of(moved, x, y), rtol=1e-11, atol=1e-13)


def gradients_of(model, x, y):
    named = dict(model.named_parameters())
    found = torch.autograd.grad((model(x) - y).square().mean(), list(named.values()))
    return dict(zip(named, found, strict=True))


def test_tied_parameters_move_together():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model, closure, *_ = training(model, 5, 3)
    new = torch.randn_like(model[0].weight)
    found = Loss(closure, model)({"0.weight": new})
    with torch.no_grad():
        model[0].weight.copy_(new)
    assert torch.equal(found, closure())


def test_a_closure_that_fails_leaves_the_model_as_it_was():
    model = batch_norm()
    weight = model[0].weight

    def fails():
        model(torch.randn(4, 3))
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        Loss(fails, model)({"0.weight": torch.zeros(4, 3)})
    assert model[0].weight is weight
    assert model[1].track_running_stats and model[1].num_batches_tracked == 0


def _writes(model, x, y):
    loss = mse_loss(model(x), y)
    loss.backward()
    return loss


@pytest.mark.parametrize(
    ("closure", "message"),
    [
        (lambda model, x, y: 2.0, "must return a tensor with one number; got float; return the mean"),
        (lambda model, x, y: model(x), r"one number; got shape \(5, 2\)"),
        (lambda model, x, y: copy.deepcopy(model)(x).sum().detach(), "must be a differentiable function"),
    ],
    ids=["number", "outputs", "another model"],
)
def test_closures_that_are_no_loss_are_refused(closure, message):
    model, _, x, y = training(mlp(3, 4, 2), 5, 3)
    there = {n: p.requires_grad_() for n, p in elsewhere(model).items()}
    with pytest.raises(ValueError, match=f"Teleport: loss .*{message}"):
        Loss(lambda: closure(model, x, y), model)(there)


def test_a_closure_that_writes_gradients_is_refused():
    model, _, x, y = training(mlp(3, 4, 2), 5, 3)
    with pytest.raises(ValueError, match=r"loss must leave gradients alone.*without calling zero_grad"):
        Loss(lambda: _writes(model, x, y), model)({})
