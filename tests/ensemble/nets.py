"""Networks that the tests of ensembles share, each with a batch."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def perceptron(*widths, activation=nn.LeakyReLU, bias=True):
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double().eval()


class Tied(nn.Module):
    """Tokens in, scores over tokens out, one table for both."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.mix(self.table(tokens)).tanh())


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0])


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = kind(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0])


class Chosen(nn.Module):
    """Takes more than tensors: a word, a number, a dict."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, batch, *, kind, scale=1.0):
        h = torch.relu(self.first(batch["x"])) if kind == "relu" else torch.tanh(self.first(batch["x"]))
        return scale * self.second(h)


class Branching(nn.Module):
    """Reads a number off its weights, which vmap cannot."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x) if self.layer.weight.sum().item() > 0 else -self.layer(x)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    )


def normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 5)), nn.Tanh(), nn.Linear(5, 2))


CASES = {
    "perceptron": lambda: (perceptron(3, 5, 4, 2), (torch.randn(6, 3),), {}),
    "no_bias": lambda: (perceptron(3, 5, 2, bias=False), (torch.randn(6, 3),), {}),
    "sequence": lambda: (perceptron(3, 5, 2), (torch.randn(6, 4, 3),), {}),
    "one_sample": lambda: (perceptron(3, 5, 2), (torch.randn(3),), {}),
    "convolution_batchnorm": lambda: (convolutional(), (torch.randn(6, 2, 8, 8),), {}),
    "weight_norm": lambda: (normed(), (torch.randn(6, 3),), {}),
    "attention": lambda: (Attentive(), (torch.randn(2, 5, 6),), {}),
    "tied": lambda: (Tied(), (torch.randint(7, (2, 5)),), {}),
    "not_tensors": lambda: (Chosen(), ({"x": torch.randn(6, 3)},), {"kind": "tanh", "scale": 2.0}),
}

# vmap has no rules for these.
LOOPED = {
    "rnn": lambda: (Recurrent(nn.RNN), (torch.randn(2, 5, 3),), {}),
    "gru": lambda: (Recurrent(nn.GRU), (torch.randn(2, 5, 3),), {}),
    "lstm": lambda: (Recurrent(nn.LSTM), (torch.randn(2, 5, 3),), {}),
}


def built(name):
    """A model in float64 and eval mode, its arguments, its keywords."""
    model, args, kwargs = (CASES | LOOPED)[name]()
    wide = [_wide(a) for a in args]
    return model.double().eval(), tuple(wide), kwargs


def _wide(x):
    if isinstance(x, dict):
        return {k: _wide(v) for k, v in x.items()}
    return x.double() if x.is_floating_point() else x


def shaken(model, n):
    """Models of the same architecture with other weights and statistics."""
    twins = []
    for _ in range(n):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for t in [*twin.parameters(), *twin.buffers()]:
                if t.is_floating_point():
                    t.add_(0.3 * torch.rand_like(t))
        twins.append(twin)
    return twins


def cross(model, x, y):
    return F.cross_entropy(model(x), y)
