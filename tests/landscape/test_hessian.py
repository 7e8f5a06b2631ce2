"""The Hessian against nested autograd of torch.func, and against matrices that are known."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from isoloss.landscape import Hessian, point
from landscape.minima import anywhere
from networks import mlp


def literal(model, x, y):
    """torch.func.hessian, reverse over reverse, tensor by tensor."""
    tensors = {n: p.detach() for n, p in model.named_parameters()}

    def loss(w):
        return (functional_call(model, w, (x,)) - y).square().mean()

    blocks = torch.func.jacrev(torch.func.grad(loss))(tensors)
    rows = [
        torch.cat([blocks[a][b].reshape(tensors[a].numel(), tensors[b].numel()) for b in tensors], 1)
        for a in tensors
    ]
    return torch.cat(rows)


def test_it_is_the_matrix_of_second_derivatives():
    model = mlp(3, 5, 2, activation=nn.Tanh).double()
    x, y = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    h = Hessian(model, lambda: nn.functional.mse_loss(model(x), y))
    # Both differentiate the same sums of some hundred terms.
    assert_close(h.dense(), literal(model, x, y), rtol=1e-12, atol=1e-14)
    v = torch.randn(h.size, 3).double()
    assert_close(h @ v, h.dense() @ v, rtol=1e-12, atol=1e-14)
    assert_close(h @ v[:, 0], (h @ v)[:, 0], rtol=1e-12, atol=1e-14)
    assert_close(h.diagonal(), h.dense().diagonal(), rtol=0, atol=0)
    assert torch.equal(h.dense(), h.dense().T)


def test_a_quadratic_has_its_matrix():
    model = nn.ParameterDict({"w": nn.Parameter(torch.tensor([1.0, 2.0]).double())})
    a = torch.tensor([[2.0, 1.0], [1.0, 4.0]]).double()
    h = Hessian(model, lambda: model["w"] @ a @ model["w"] / 2)
    assert_close(h.dense(), a, rtol=0, atol=0)
    assert_close(h.gradient, a @ model["w"].detach(), rtol=0, atol=0)


def test_a_linear_loss_has_none():
    model = nn.ParameterDict({"w": nn.Parameter(torch.ones(3).double())})
    h = Hessian(model, lambda: model["w"].sum())
    assert_close(h.dense(), torch.zeros(3, 3).double(), rtol=0, atol=0)


def test_other_points_and_some_parameters():
    model, x, loss = anywhere(mlp(3, 4, 2, activation=nn.Tanh))
    moved = {n: torch.randn_like(p) for n, p in model.named_parameters()}
    there = Hessian(model, loss, at=moved)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(moved[n])
    assert_close(there.dense(), Hessian(model, loss).dense(), rtol=0, atol=0)
    part = Hessian(model, loss, names=["2.weight"])
    k = [3 * 4 + 4, 3 * 4 + 4 + 2 * 4]
    assert_close(part.dense(), there.dense()[k[0] : k[1], k[0] : k[1]], rtol=1e-12, atol=1e-14)
    only = Hessian(model, loss, at={n: before[n] for n in before if n != "2.weight"}, names=["2.weight"])
    assert not torch.allclose(only.dense(), part.dense())


def test_frozen_parameters_are_none_of_its_coordinates():
    model, _, loss = anywhere(mlp(3, 4, 2))
    model[0].weight.requires_grad_(False)
    assert Hessian(model, loss).names == ("0.bias", "2.weight", "2.bias")


def test_it_leaves_no_trace():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    x = torch.randn(6, 3).double()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    Hessian(model, lambda: model(x).square().mean()).dense()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_messages():
    model, x, loss = anywhere(mlp(3, 4, 2))
    with pytest.raises(
        ValueError, match=r"landscape.Hessian: loss must return a tensor with one number; got shape"
    ):
        Hessian(model, lambda: model(x))
    with pytest.raises(ValueError, match=r"made for up to 10 parameters; got 26; take products"):
        Hessian(model, loss).dense(10)
    with pytest.raises(
        ValueError, match=r"names must be parameters of the model; got 'w'; they are 0.weight"
    ):
        Hessian(model, loss, names=["w"])
    with pytest.raises(ValueError, match=r"must be parameters that require gradients; got none; unfreeze"):
        Hessian(nn.ReLU(), loss)
    with pytest.raises(ValueError, match=r"loss and its gradient must be finite; got a loss of nan"):
        Hessian(model, lambda: loss() * float("nan"))
    half = nn.Linear(2, 1).bfloat16()
    with pytest.raises(
        ValueError, match=r"must be float32 or float64; got torch.bfloat16; take a float64 copy"
    ):
        Hessian(half, lambda: half.weight.square().sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"at": {"foo": torch.ones(2)}},
            r"got foo of shape \(2,\), where the model has nothing of that name",
        ),
        (
            {"at": {"weight": torch.ones(2)}},
            r"got weight of shape \(2,\), where the model has \(1, 3\) there",
        ),
        ({"loss": lambda model: model(torch.ones(2, 3)).sum()}, r"function without arguments; got \(model\)"),
        ({"loss": None}, "function without arguments; got NoneType"),
    ],
)
def test_what_is_no_point_or_no_closure_is_refused(change, message):
    model = nn.Linear(3, 1)
    arguments = {"loss": lambda: model(torch.ones(2, 3)).square().sum()} | change
    with pytest.raises(ValueError, match=message):
        Hessian(model, **arguments)
    with pytest.raises(ValueError, match=f"landscape.point: .*{message}"):
        point(model, **arguments)


def test_a_loss_of_another_copy_is_not_flat():
    """It would have a Hessian of zeros."""
    model, copy = nn.Linear(3, 1), nn.Linear(3, 1)
    with pytest.raises(ValueError, match="uses none of them; call the model that is given"):
        Hessian(model, lambda: copy(torch.ones(2, 3)).square().sum())
    with pytest.raises(ValueError, match="landscape.point: loss must depend on the parameters"):
        point(model, lambda: copy(torch.ones(2, 3)).square().sum())
