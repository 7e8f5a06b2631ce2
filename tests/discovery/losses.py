"""Losses of one sample with what is known of their symmetries, and samplers for them."""

import torch
from torch import Tensor

from isoloss.discovery import normal
from isoloss.discovery._local import Local
from isoloss.discovery._loss import Losses
from isoloss.discovery._sampler import Sampler


def scalar(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    """Figure 6.3: two weights, one after the other; diag(1, -1) generates its rescalings."""
    return (w["b"] * w["a"] * data["x"] - data["y"]).square()


SCALAR = scalar, normal(a=(), b=()), normal(x=(), y=())


def tanh(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    """Three hidden neurons and four data points, a loss for each: no linear symmetry on all data."""
    return (w["v"] @ torch.tanh(w["u"] @ data["x"]) - data["y"]).square().sum(0)


TANH = tanh, normal(u=(3, 2), v=(1, 3)), normal(x=(2, 4), y=(1, 4))


def pair(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    """Two linear layers of width 2: GL(2) acts on them. A loss for each of three data points."""
    return (w["v"] @ w["u"] @ data["x"] - data["y"]).square().sum(0)


PAIR = pair, normal(u=(2, 2), v=(2, 2)), normal(x=(2, 3), y=(2, 3))


def relu(w: dict[str, Tensor], data: dict[str, Tensor]) -> Tensor:
    """Two neurons, each with its rescaling."""
    return (w["v"] @ torch.relu(w["u"] * data["x"]) - data["y"]).square()


RELU = relu, normal(u=(2,), v=(2,)), normal(x=(), y=())


def rescalings() -> Tensor:
    """The generators of `relu`: u_i grows as v_i shrinks."""
    h = torch.zeros(2, 4, 4, dtype=torch.float64)
    for i in range(2):
        h[i, i, i], h[i, 2 + i, 2 + i] = 1.0, -1.0
    return h


def basis_changes() -> Tensor:
    """The generators of `pair`, one for each entry of a 2 x 2 matrix a: u moves by a u, v by -v a."""
    found = []
    for a in torch.eye(4, dtype=torch.float64).view(4, 2, 2):
        one = torch.eye(2, dtype=torch.float64)
        found.append(torch.block_diag(torch.kron(a, one), -torch.kron(one, a.mT.contiguous())))
    return torch.stack(found)


def sampled(case, n=6, seed=0):
    """Losses with parameters and data in float64."""
    loss, params, data = case
    sampler = Sampler(params, data, "here")
    theta, x = (t.double() for t in sampler(n, seed))
    return Losses(loss, sampler.params, sampler.data), theta, x


def local(case, action, h, n=6, seed=0):
    losses, theta, x = sampled(case, n, seed)
    return Local(losses, action.double(), h, theta, x, torch.Generator().manual_seed(0))


def awake(action):
    """An action with nothing silent: every parameter random."""
    with torch.no_grad():
        for p in action.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return action.double()
