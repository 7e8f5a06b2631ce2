"""The loss of a module, and samples of its parameters."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from isoloss.discovery import Recipe, around, discover, initializations, module_loss, normal

FAST = Recipe(steps=150, generator_lr=0.05)


def made():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()


def test_the_loss_is_that_of_the_module_with_other_parameters():
    model, other = made(), made()
    loss = module_loss(model, F.cross_entropy)
    x, label = torch.randn(4, 2), torch.randint(2, (4,))
    params = dict(other.named_parameters())
    assert_close(loss(params, (x, label)), F.cross_entropy(other(x), label), rtol=0, atol=0)
    some = {"0.weight": params["0.weight"]}
    expected = made()
    expected.load_state_dict(model.state_dict() | some)
    assert_close(loss(some, (x, label)), F.cross_entropy(expected(x), label), rtol=0, atol=0)


def test_an_entry_of_inputs_may_be_a_tensor():
    model = made()
    x = torch.randn(4, 2)
    found = module_loss(model, lambda y: y.square().sum(1))(dict(model.named_parameters()), x)
    assert_close(found, model(x).square().sum(1), rtol=0, atol=0)


def test_what_is_not_sampled_follows_in_dtype():
    """Symmetries are graded in float64: buffers in float32 are not in the way."""
    model = made()
    params = {n: p.double() for n, p in model.named_parameters() if n.startswith("0")}
    found = module_loss(model, lambda y: y.sum())(params, torch.ones(1, 2).double())
    assert found.dtype == torch.float64 and model[1].running_mean.dtype == torch.float32


@pytest.mark.parametrize(
    "params, got",
    [
        ({"0.weight": torch.ones(3, 2), "0.bais": torch.ones(3)}, "got 0.bais; sample them as"),
        ({}, "got none"),
        (torch.ones(3, 2), "got Tensor"),
    ],
)
def test_parameters_that_the_module_does_not_have_are_refused(params, got):
    """They would be ignored, and a symmetry of any loss."""
    with pytest.raises(
        ValueError, match=f"module_loss: parameters must have the names of the module's, .*{got}"
    ):
        module_loss(made(), lambda y: y.sum())(params, torch.ones(4, 2))


def test_what_a_module_counts_while_it_trains_stays():
    model = made().train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    module_loss(model, lambda y: y.sum())(dict(model.named_parameters()), torch.randn(4, 2))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize("sample", [initializations, around])
def test_samples_differ_and_have_the_shapes_of_the_parameters(sample):
    model = made()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    drawn = sample(model)(5)
    assert {n: t.shape[1:] for n, t in drawn.items()} == {n: p.shape for n, p in model.named_parameters()}
    assert not torch.equal(drawn["0.weight"][0], drawn["0.weight"][1])
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_spread_is_relative_to_each_parameter():
    """The standard deviation of 2000 draws, within five of its standard errors, 1 / sqrt(2 * 2000)."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(50.0), model.bias.fill_(0.0)
    drawn = around(model, 0.2)(2000)
    for name, mean, spread in (("weight", 50.0, 10.0), ("bias", 0.0, 0.2)):
        assert abs(float(drawn[name].std()) / spread - 1) < 5 / 4000**0.5
        assert abs(float(drawn[name].mean()) - mean) < 5 * spread / 2000**0.5


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan"), None])
def test_spreads_that_are_none_are_refused(spread):
    with pytest.raises(ValueError, match="around: spread must be a positive number; got"):
        around(made(), spread)


def test_a_symmetry_of_a_module_is_found():
    """Logits of a classifier may all be moved alike."""
    model = nn.Linear(2, 3)
    data = lambda n: (torch.randn(n, 2), torch.randint(3, (n,)))  # noqa: E731
    found = discover(
        module_loss(model, F.cross_entropy), initializations(model), data, action="affine", recipe=FAST
    )
    assert found.found, found.reason
    again = discover(
        module_loss(model, F.cross_entropy), normal(bias=(3,)), data, action="affine", recipe=FAST
    )
    assert again.found and again.params.names == ("bias",)
