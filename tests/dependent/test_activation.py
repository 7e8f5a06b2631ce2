import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.dependent import ACTIVATIONS, Extended, activation_of

MODULES = [
    nn.Identity(),
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(2.0),
    nn.Tanh(),
    nn.Sigmoid(),
    Extended(nn.Tanh(), 6.0),
    Extended(nn.Sigmoid(), 6.0),
]


def test_every_entry_is_tested():
    assert {type(m) for m in MODULES} == set(ACTIVATIONS)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_derivatives_are_those_of_the_module(module):
    activation = activation_of(module)
    z = torch.randn(50).double().requires_grad_()
    value = module(z)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    assert_close(activation.value(z), value)
    assert_close(activation.slope(z), slope)
    if slope.requires_grad:
        (curvature,) = torch.autograd.grad(slope.sum(), z)
        found = activation.curvature
        assert_close(torch.zeros_like(z) if found is None else found(z), curvature)
    else:
        assert activation.curvature is None


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_inverses_invert(module):
    activation = activation_of(module, 12.0)
    if activation.inverse is None:
        assert isinstance(module, nn.ReLU)
        return
    x = torch.linspace(-4, 4, 41).double()
    y = activation.value(x)
    # The error of an inverse is that of y over the slope; of an extension not applied by the module, e^(4 - 12).
    bound = 16 * torch.finfo(x.dtype).eps * y.abs().max() / activation.slope(x).min() + 0.0
    if isinstance(module, nn.Tanh | nn.Sigmoid):
        bound = bound + torch.tensor(4.0 - 12.0).exp() / activation.slope(x).min()
    assert_close(activation.inverse(y), x, rtol=0, atol=float(bound))


@pytest.mark.parametrize("inner", [nn.Tanh(), nn.Sigmoid()], ids=lambda m: type(m).__name__)
def test_an_extension_is_onto_and_tight(inner):
    module = Extended(inner, 20.0)
    activation = activation_of(module)
    y = torch.tensor([-50.0, -1.5, 0.3, 2.0, 80.0]).double()
    # Beyond the bounds of the activation the extension is an exponential: relative error eps times the distance.
    assert_close(module(activation.inverse(y)), y, rtol=1e-12, atol=1e-12)
    z = torch.linspace(-3, 3, 21).double()
    assert_close(module(z), inner(z), rtol=0, atol=float(torch.tensor(3.0 - 20.0).exp()) * 2)


def test_only_bounded_activations_are_extended():
    with pytest.raises(ValueError, match="got ReLU"):
        Extended(nn.ReLU())


def test_a_module_that_is_not_known_has_none():
    assert activation_of(nn.GELU()) is None
