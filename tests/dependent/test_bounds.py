import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.dependent import (
    Frame,
    Rotation,
    Two,
    act,
    activation_of,
    change_bound,
    equivariance_bound,
    lipschitz_bound,
)


def network(h=10, n=6, m=4, k=1):
    return (torch.randn(s).double() for s in ((h, n), (m, h), (n, k)))


def steepest(u, v, activation, x):
    """Largest difference quotient of U sigma(V x) over pairs of samples."""
    z = u @ activation.value(v @ x)
    out = torch.linalg.vector_norm(z[:, 1:] - z[:, :-1], dim=0)
    return (out / torch.linalg.vector_norm(x[:, 1:] - x[:, :-1], dim=0)).max()


@pytest.mark.parametrize("module, eta", [(nn.LeakyReLU(0.1), 1.0), (nn.Tanh(), 1.0), (nn.Sigmoid(), 0.25)])
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0])
def test_no_difference_quotient_exceeds_the_lipschitz_bound(module, eta, size):
    activation = activation_of(module)
    for _ in range(5):
        v, u, x = network()
        g = torch.eye(10).double() + size * torch.randn(10, 10).double()
        moved_v, moved_u = act(Rotation(), g, v, u, x, activation)
        units, moved = activation.value(v @ x), activation.value(g @ v @ x)
        bound = lipschitz_bound(u, v, g, units, moved, eta)
        samples = torch.cat([x, x + 1e-3 * torch.randn(6, 200).double(), 3 * torch.randn(6, 200).double()], 1)
        assert steepest(moved_u, moved_v, activation, samples) <= bound * (1 + 1e-9)


def test_the_bound_is_that_of_the_network_at_the_identity_and_is_reached():
    v, u, x = network()
    units = torch.randn(10).double()
    g = torch.eye(10).double()
    assert_close(
        lipschitz_bound(u, v, g, units, units),
        torch.linalg.matrix_norm(u, 2) * torch.linalg.matrix_norm(v, 2),
    )
    # Without an activation, along the first singular vectors, the quotient is the bound: it is not vacuous.
    one = torch.eye(6).double()
    identity = activation_of(nn.Identity())
    direction = torch.tensor([[0.0, 1.0]]).double() * torch.randn(6, 1).double()
    assert_close(steepest(one, one, identity, direction), lipschitz_bound(one, one, one, one[0], one[0]))


def test_the_bound_of_an_equivariance_holds_for_the_frame():
    activation = activation_of(nn.LeakyReLU(0.1))
    v, u, x = network(k=5)
    g = torch.eye(10).double() + 0.3 * torch.randn(10, 10).double()
    units, moved = activation.value(v @ x), activation.value(g @ v @ x)
    inverse = Frame().outgoing(g, torch.eye(10).double(), units, moved)
    moved_v, moved_u = act(Frame(), g, v, u, x, activation)
    samples = torch.randn(6, 500).double()
    assert steepest(moved_u, moved_v, activation, samples) <= equivariance_bound(u, v, g, inverse)


@pytest.mark.parametrize(
    "module", [nn.Sigmoid(), nn.LeakyReLU(0.1), nn.ReLU()], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("k", [3, 10, 60])
def test_action_2_never_changes_outputs_by_more_than_they_are(module, k):
    """Proposition 3.4.1, which Figure 3.3 (a) shows: any g, also far from the identity."""
    activation, largest = activation_of(module), 0.0
    for _ in range(10):
        v, u, x = network(k=k)
        g = torch.randn(10, 10).double()
        outputs = u @ activation.value(v @ x)
        moved_v, moved_u = act(Two(), g, v, u, x, activation)
        change = torch.linalg.matrix_norm(moved_u @ activation.value(moved_v @ x) - outputs)
        bound = change_bound(u, activation.value(v @ x))
        assert change <= bound * (1 + 1e-9)
        largest = max(largest, float(change / bound))
    # Small batches are kept, large ones are not: else the test would show nothing. Ten ReLU units may be dependent.
    if k == 3:
        assert largest < 1e-9
    if k == 60:
        assert largest > 0.1
