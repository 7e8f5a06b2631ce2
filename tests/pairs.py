"""Layer pairs to draw curves through, in float64."""

import torch
from torch import nn

from isoloss.dependent._frame import _fixed
from isoloss.teleport.curves import ForwardCurve, InverseCurve, LayerPair
from networks import mlp

SLOPE = 0.1


class Softplus(nn.Module):
    """Smooth, increasing and onto: x + log(1 + exp(x))."""

    def forward(self, x):
        return x + nn.functional.softplus(x)


def leaky_inverse(y):
    return torch.where(y > 0, y, y / SLOPE)


def newton_inverse(y):
    """The inverse of x + softplus(x); forty steps, of which the last change nothing."""
    x = y / 2
    for _ in range(40):
        x = x - (x + nn.functional.softplus(x) - y) / (1 + x.sigmoid())
    return x


ACTIVATIONS = {
    "leaky": (lambda: nn.LeakyReLU(SLOPE), leaky_inverse),
    "sinh": (lambda: Sinh(), torch.asinh),
    "tanh": (nn.Tanh, torch.atanh),
    "softplus": (Softplus, newton_inverse),
}


class Sinh(nn.Module):
    def forward(self, x):
        return x.sinh()


def pair(activation="sinh", samples=4, which=0, widths=(5, 6, 7, 3), bias=True, seed=0):
    """A pair of adjacent layers of a network, its parameters, and a small algebra element."""
    torch.manual_seed(seed)
    make, inverse = ACTIVATIONS[activation]
    model = mlp(*widths, activation=make, bias=bias).double()
    x = torch.randn(samples, widths[0], dtype=torch.float64)
    layers = LayerPair(model, x, str(2 * which), str(2 * which + 2), model[1], inverse)
    h = layers.width
    m = torch.randn(h, h, dtype=torch.float64) / (4 * h)
    return model, layers, {n: p.detach() for n, p in model.named_parameters()}, m


CURVES = {
    "action 1": InverseCurve,
    "action 2": ForwardCurve,
    "action 2, papers": lambda layers, m: ForwardCurve(layers, m, "papers"),
    "frame": lambda layers, m: ForwardCurve(layers, m, "frame"),
}


def explicit(curve):
    """The curve as a function of time that torch differentiates three times: without singular vectors, which it cannot.

    The frame's complement is written with the projector onto the moved units, as in docs/dependent.md.
    """
    if not isinstance(curve, ForwardCurve) or curve.form != "frame":
        return curve.at

    def at(t, tensors):
        u, v, x = curve.layers.read(tensors)
        moved = torch.linalg.matrix_exp(t * curve.algebra) @ v
        here, there = (curve.layers.units([w @ x], tensors)[0] for w in (v, moved))
        back = torch.linalg.pinv(there)
        new = u @ here @ back
        if here.shape[0] > here.shape[1]:
            fixed = _fixed(*here.shape)
            one, other = (_reflection(s, fixed) for s in (here, there))
            new = new + (u @ one - u @ one @ fixed @ fixed.mT) @ other
        return curve.layers.write(new, moved)

    return at


def _reflection(s, fixed):
    onto = s @ torch.linalg.pinv(s) @ fixed
    root, inverse = fixed.mT @ onto, torch.eye(fixed.shape[1], dtype=s.dtype)
    for _ in range(14):
        root, inverse = (root + torch.linalg.inv(inverse)) / 2, (inverse + torch.linalg.inv(root)) / 2
    mirror = fixed + onto @ inverse
    middle = torch.linalg.inv(torch.eye(fixed.shape[1], dtype=s.dtype) + root)
    return torch.eye(len(s), dtype=s.dtype) - mirror @ middle @ mirror.mT
