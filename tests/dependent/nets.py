"""Networks and batches that the tests of data-dependent actions share."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoloss import find
from isoloss.dependent import Chain, Search, pairs, undisturbed

ACTIVATED = [nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus]


def perceptron(*widths, activation=nn.LeakyReLU, bias=True):
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double()


def convolutional(activation=nn.Tanh, pool=nn.AvgPool2d):
    """Images of 2 x 8 x 8: two convolutions, pooling, and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        activation(),
        pool(2),
        nn.Conv2d(4, 5, 3, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(45, 6),
        activation(),
        nn.Linear(6, 3),
    ).double()


class Written(nn.Module):
    """The layers of another model, with functions between them that are no modules."""

    def __init__(self, model, between):
        super().__init__()
        self.layers, self.between = nn.ModuleList(m for m in model if hasattr(m, "weight")), between

    def forward(self, x):
        for layer, f in zip(self.layers, (*self.between, lambda z: z), strict=True):
            x = f(layer(x))
        return x


def written(model):
    """A perceptron of `perceptron`, or a network of `convolutional`, as functions."""
    sigma = next(m for m in model if not hasattr(m, "weight")).forward
    if not isinstance(model[0], nn.Conv2d):
        return Written(model, [sigma] * (len(model) // 2))
    pool = model[2].forward
    return Written(model, [lambda z: pool(sigma(z)), lambda z: sigma(z).flatten(1), sigma])


def batch(model, k):
    """Inputs and classes."""
    first = next(p for p in model.parameters() if p.dim() > 1)
    shape = (k, 2, 8, 8) if first.dim() == 4 else (k, first.shape[1])
    classes = [p for p in model.parameters() if p.dim() > 1][-1].shape[0]
    return torch.randn(shape).double(), torch.randint(classes, (k,))


def closure(model, k):
    """The loss of a random batch."""
    x, y = batch(model, k)
    return lambda: cross_entropy(model(x), y)


def symmetries_of(model):
    return find(model, batch(model, 2)[0])


def search_of(model, loss, **options):
    """A search and the chain that it is over."""
    with undisturbed(model) as run:
        chain = Chain.of(model, loss, run)
        return Search(chain, pairs(symmetries_of(model)), **options), chain


def elements(model, size=0.1):
    """One element near the identity for every pair."""
    return [
        torch.eye(p.width).double() + size * torch.randn(p.width, p.width).double() / p.width**0.5
        for p in pairs(symmetries_of(model))
    ]


def gradient_norm(model, loss):
    """Half of the squared norm, by autograd."""
    found = torch.autograd.grad(loss(), list(model.parameters()))
    return 0.5 * sum(g.square().sum().item() for g in found)


def somewhere(search, size=0.05):
    return [size * torch.randn_like(t) / len(t) ** 0.5 for t in search.start()]


def add_ones(s):
    return torch.cat([s, torch.ones(1, s.shape[1]).double()])


def moved(model, x, thetas, bases, damping=0.0):
    """The matrices of the moved network, with pseudo-inverses, or with fits that are damped."""
    layers, sigma, matrices = [m for m in model if isinstance(m, nn.Linear)], model[1], []
    old = new = add_ones(x.mT)
    for i, layer in enumerate(layers):
        w = torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
        y = w @ old
        if i:
            inverse = torch.linalg.pinv(new)
            if damping:
                inverse = new.mT @ torch.linalg.inv(new @ new.mT + damping * torch.eye(len(new)).to(new))
            w = w + (y - w @ new) @ inverse
        if i < len(thetas):
            w = w + thetas[i] @ (w if bases[i] is None else bases[i].mT @ w)
        matrices.append(w)
        old, new = add_ones(sigma(y)), add_ones(sigma(w @ new))
    return tuple(matrices)
