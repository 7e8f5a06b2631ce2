import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.dependent import activation_of
from isoloss.dependent._link import Measured, Pointwise


def links(module, biased):
    function = lambda z: torch.cat([module(z), torch.ones(1, z.shape[1]).double()]) if biased else module(z)  # noqa: E731
    return Pointwise(activation_of(module), biased), Measured(function, biased)


@pytest.mark.parametrize(
    "module", [nn.Tanh(), nn.LeakyReLU(0.2), nn.Sigmoid()], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("biased", [True, False])
def test_closed_forms_are_what_autograd_measures(module, biased):
    z, cotangent, other, tangent = (torch.randn(4, 3).double() for _ in range(4))
    a, b = links(module, biased)
    assert_close(a.value(z), b.value(z))
    assert_close(a.pull(cotangent), b.pull(cotangent))
    assert_close(a.pull_more(other), b.pull_more(other))
    assert_close(a.push(tangent), b.push(tangent))
    bends = [link.bend(tangent) for link in (a, b)]
    zero = torch.zeros_like(z)
    assert_close(*(zero if bend is None else bend for bend in bends))


def test_push_pull_and_bend_are_derivatives_of_any_map():
    mix = torch.randn(6, 4).double()
    f = lambda z: (mix @ z).tanh() * (mix @ z)  # noqa: E731
    link = Measured(f, False)
    z, tangent, cotangent = torch.randn(4, 3).double(), torch.randn(4, 3).double(), torch.randn(6, 3).double()
    link.value(z)
    pulled = link.pull(cotangent)
    _, pushed = torch.func.jvp(f, (z,), (tangent,))
    assert_close(link.push(tangent), pushed)
    pull = lambda z: torch.func.vjp(f, z)[1](cotangent)[0]  # noqa: E731
    assert_close(pulled, pull(z))
    assert_close(link.bend(tangent), torch.func.jvp(pull, (z,), (tangent,))[1])
