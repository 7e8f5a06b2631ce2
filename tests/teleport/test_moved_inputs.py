"""Parameters and data moved together: the function of the raw data stays, whatever is composed."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD, Adam
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal, Translation
from isoloss.teleport import GradientNorm, LieAscent, MovedInputs, RandomTeleport, Teleport, always
from networks import backward, gradients, mlp, snapshot


def vectors():
    return MovedInputs(mlp(5, 8, 3), 5).double(), torch.randn(9, 5).double()


def images():
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 3))
    return MovedInputs(model, 3, dim=1).double(), torch.randn(4, 3, 4, 4).double()


every_model = pytest.mark.parametrize("make", [vectors, images], ids=["vectors", "images"])


@every_model
def test_at_first_it_is_the_model(make):
    model, x = make()
    assert torch.equal(model.moved(x), x)
    # Another memory layout takes another kernel.
    assert_close(model(x), model.model(x), rtol=1e-13, atol=1e-14)
    assert [n for n, _ in model.named_parameters()] == [
        f"model.{n}" for n, _ in model.model.named_parameters()
    ]


def test_the_data_of_vectors_move_by_all_affine_maps_and_of_padded_images_by_matrices():
    for make, expected in ((vectors, {GeneralLinear, Translation}), (images, {GeneralLinear})):
        model, x = make()
        found = model.about_inputs(model.symmetries(x))
        assert {type(s.group) for s in found} == expected
        assert all("model.0.weight" in s.parameters or "model.0.bias" in s.parameters for s in found)
    model = MovedInputs(nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)), 5).double()
    groups = {type(s.group) for s in model.about_inputs(model.symmetries(torch.randn(9, 5)))}
    assert Orthogonal in groups and GeneralLinear not in groups


@every_model
def test_parameters_and_data_move_and_the_outputs_stay(make):
    model, x = make()
    symmetries = model.about_inputs(model.symmetries(x))
    before, first = model(x), model.model[0].weight.clone()
    for _ in range(3):  # composed over teleports
        symmetries.act_(symmetries.sample(0.3))
    assert_close(model(x), before, rtol=1e-11, atol=1e-12)
    other = torch.randn_like(x)
    assert (model.moved(x) - x).abs().max() > 0.1 and (model.model[0].weight - first).abs().max() > 0.1
    # Negative control: without the data's part the function is another one.
    assert (model.model(x) - before).abs().max() > 1e-2
    assert (model.model(other) - model(other)).abs().max() > 1e-2


def test_the_data_part_is_the_product_of_the_elements():
    """g2 (g1 X), literally: M = g2 g1 and W = W g1^-1 g2^-1."""
    model, x = vectors()
    symmetries = model.symmetries(x).only(GeneralLinear)
    w = model.model[0].weight.detach().clone()
    g1, g2 = (symmetries.sample(0.3)[0] for _ in range(2))
    symmetries.act_([g1])
    symmetries.act_([g2])
    slot = next(s for s in symmetries[0].slots if s.parameter == "matrix")
    product = g2 @ g1 if slot.charge == 1 else torch.linalg.inv(g2 @ g1).mT
    assert_close(model.matrix, product, rtol=1e-12, atol=1e-13)
    assert_close(model.moved(x), x @ product.T, rtol=1e-12, atol=1e-13)
    assert_close(model.model[0].weight.detach(), w @ torch.linalg.inv(product), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "solver", [None, LieAscent(4), RandomTeleport()], ids=["transported", "lie", "random"]
)
def test_a_teleport_moves_both_and_transports_the_gradient(solver):
    model, x = vectors()
    y = torch.randn(9, 3).double()
    optimizer = Adam(model.parameters(), lr=0.05)
    symmetries = model.about_inputs(model.symmetries(x)).only(GeneralLinear)
    for _ in range(2):
        backward(model, x, y)
        optimizer.step()
    backward(model, x, y)
    jump = Teleport(
        optimizer,
        symmetries,
        GradientNorm(),
        always,
        0.3,
        solver,
        measure=lambda: mse_loss(model(x), y),
        generator=torch.Generator().manual_seed(0),
    ).step()
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-12)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-11)
    found = gradients(model)
    backward(model, x, y)
    assert_close(found, gradients(model), rtol=1e-10, atol=1e-12)
    assert (model.matrix - torch.eye(5)).abs().max() > 1e-2
    if not isinstance(solver, RandomTeleport):
        assert jump.gradient_norm_after > jump.gradient_norm_before


def test_a_bound_rolls_the_data_part_back_too():
    model, x = vectors()
    y = torch.randn(9, 3).double()
    optimizer = SGD(model.parameters(), lr=0.05)
    whole = model.symmetries(x).only(GeneralLinear)
    from dataclasses import replace

    # Half of a symmetry: the data move, the weights stay behind.
    half = whole._with(
        [replace(s, slots=tuple(t for t in s.slots if t.parameter != "model.0.weight")) for s in whole]
    )
    backward(model, x, y)
    before = snapshot(model, optimizer)
    teleport = Teleport(
        optimizer,
        half,
        schedule=always,
        solver=RandomTeleport(),
        loss=lambda: mse_loss(model(x), y),
        max_loss_change=1e-6,
    )
    assert "undone" in teleport.step().skipped
    assert_close(snapshot(model, optimizer), before, rtol=0.0, atol=0.0)


def test_the_data_part_is_saved_with_the_model():
    model, x = vectors()
    symmetries = model.symmetries(x)
    symmetries.act_(symmetries.sample(0.3))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, _ = vectors()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


def test_training_on_badly_scaled_digits():
    """Pixels of very different scales: data and first layer are moved together by what raises the gradient most."""
    from sklearn.datasets import load_digits

    data = load_digits()
    generator = torch.Generator().manual_seed(0)
    scales = torch.randn(64, generator=generator).mul(1.5).exp()
    x, y = torch.tensor(data.data / 16.0, dtype=torch.float32) * scales, torch.tensor(data.target)
    ends = {}
    for teleports in (False, True):
        torch.manual_seed(0)
        model = MovedInputs(mlp(64, 32, 10), 64)
        optimizer = SGD(model.parameters(), lr=0.02)
        symmetries = model.about_inputs(model.symmetries(x[:8])).only(GeneralLinear)
        teleport = Teleport(optimizer, symmetries, schedule=lambda step: step in (5, 15, 25), radius=0.2)
        for step in range(120):
            part = slice(50 * step % 1700, 50 * step % 1700 + 50)
            optimizer.zero_grad()
            loss = cross_entropy(model(x[part]), y[part])
            loss.backward()
            if teleports:
                teleport.step()
                assert cross_entropy(model(x[part]), y[part]).item() == pytest.approx(loss.item(), rel=1e-4)
            optimizer.step()
        ends[teleports] = cross_entropy(model(x), y).item()
    assert ends[True] < ends[False]


def test_it_says_what_it_needs():
    model, _ = images()
    with pytest.raises(
        ValueError, match=r"inputs must have 3 features along axis 1; got shape \(4, 5, 4, 4\)"
    ):
        model(torch.randn(4, 5, 4, 4).double())
    with pytest.raises(ValueError, match="features must be positive; got 0"):
        MovedInputs(nn.Linear(2, 2), 0)
    assert "features=3, dim=1" in repr(model)
