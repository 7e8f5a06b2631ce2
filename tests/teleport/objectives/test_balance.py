"""The smallest parameters on the orbit, where they are known in closed form."""

from math import inf

import pytest
import torch
from torch import nn

from isoloss.teleport import Balance, Teleport, always
from networks import linear_symmetries, mlp, mlp_symmetries


def balanced(model, symmetries):
    return Teleport(torch.optim.SGD(model.parameters(), lr=0.1), symmetries, Balance(), always, inf).step()


def test_scalings_reach_equal_norms_on_both_sides_of_every_neuron():
    """The minimal squared norm is twice the sum of |incoming| |outgoing|, by the inequality of the means."""
    model = mlp(5, 8, 3).double()
    incoming = torch.cat([model[0].weight, model[0].bias[:, None]], 1).norm(dim=1)
    outgoing = model[2].weight.norm(dim=0)
    assert not torch.allclose(incoming, outgoing, rtol=0.05)
    expected = 2 * (incoming * outgoing).sum() + model[2].bias.square().sum()
    jump = balanced(model, mlp_symmetries(model))
    assert jump.after == pytest.approx(expected.item(), rel=1e-14)
    found = torch.cat([model[0].weight, model[0].bias[:, None]], 1).norm(dim=1)
    torch.testing.assert_close(found, model[2].weight.norm(dim=0), rtol=1e-7, atol=0.0)


def test_matrices_reach_a_conserved_quantity_of_zero():
    """The minimal squared norm of W2 W1 is twice the nuclear norm of the product, where W1 W1^T = W2^T W2."""
    model = mlp(6, 4, 5, activation=nn.Identity, bias=False).double()
    one, two = model[0].weight, model[2].weight
    before = (one @ one.mT - two.mT @ two).norm()
    expected = 2 * torch.linalg.matrix_norm(two @ one, "nuc")
    jump = balanced(model, linear_symmetries(model))
    # A ridge of 3e-4 keeps the minimum away from infinity: the first order in g, the second in the norm.
    assert jump.after == pytest.approx(expected.item(), rel=1e-6)
    assert (one @ one.mT - two.mT @ two).norm() < 2e-3 * before
