"""Points where the loss has its minimum, exactly, in float64, of networks that are not at a special point."""

import torch
from torch import nn

from networks import mlp


def linear_minimum(n=10, h=50, m=5, samples=None, seed=0):
    """Section 2.8.2: ||Y - U V||^2 at U V = Y, which one least-squares fit of U reaches. Inputs are the identity."""
    generator = torch.Generator().manual_seed(seed)
    model = mlp(n, h, m, activation=nn.Identity, bias=False).double()
    x = torch.eye(n).double()[: samples or n]
    y = torch.randn(len(x), m, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(h, n, generator=generator, dtype=torch.float64))
        v = model[0].weight
        u = torch.randn(m, h, generator=generator, dtype=torch.float64)
        model[2].weight.copy_(u + (y.T - u @ v @ x.T) @ torch.linalg.pinv(v @ x.T))
    return model, x, lambda: (model(x) - y).square().sum()


def realizable(model, samples=40, seed=0):
    """The mean squared error on targets that the model itself computes: its minimum, 0, is here."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    first = next(model.parameters()).shape[1]
    x = torch.randn(samples, first, generator=generator, dtype=torch.float64)
    y = model(x).detach()
    return model, x, lambda: nn.functional.mse_loss(model(x), y)


def anywhere(model, samples=20, seed=0):
    """The same with targets of its own: no critical point."""
    model, x, _ = realizable(model, samples, seed)
    y = torch.randn(
        samples, model(x).shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return model, x, lambda: nn.functional.mse_loss(model(x), y)
