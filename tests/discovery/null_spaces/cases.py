"""Losses whose symmetries are known, and the slow way to their Jacobians."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from isoloss.discovery import Space, normal


class Case(NamedTuple):
    """A loss with its samplers, and how many generators it has: linear ones, affine ones."""

    loss: Callable[[Any, Any], Tensor]
    params: Callable[[int], Any]
    data: Callable[[int], Any]
    linear: int
    affine: int


def two_layers(activation, m: int, h: int, n: int, linear: int) -> Case:
    """|W2 s(W1 X) - Y|^2, the loss of section 6.5.3."""

    def loss(w: dict[str, Tensor], d: dict[str, Tensor]) -> Tensor:
        return (w["w2"] @ activation(w["w1"] @ d["x"]) - d["y"]).square().sum()

    return Case(loss, normal(w1=(h, n), w2=(m, h)), normal(x=(n, 1), y=(m, 1)), linear, linear)


def biased(activation, m: int, h: int, n: int, linear: int, affine: int) -> Case:
    """The outputs themselves, with biases."""

    def outputs(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return w["b"] @ activation(w["a"] @ x + w["c"]) + w["e"]

    shapes = dict(a=(h, n), c=(h,), b=(m, h), e=(m,))
    return Case(outputs, normal(**shapes), lambda k: torch.randn(k, n), linear, affine)


def scores(d: int, tokens: int = 3) -> Case:
    """softmax(X Q K^T X^T): GL(d) between Q and K."""

    def attention(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.softmax(x @ w["q"] @ (x @ w["k"]).T / d**0.5, -1).flatten()

    return Case(attention, normal(q=(d, d), k=(d, d)), lambda n: torch.randn(n, tokens, d), d * d, d * d)


def transformer(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network of section 6.5.5 on one sequence."""
    mixed = torch.softmax(x @ w["q"] @ (x @ w["k"]).T / 2**0.5, -1) @ x @ w["v"]
    return ((x + mixed) @ w["w1"] @ w["w2"]).flatten()


def linear(z: Tensor) -> Tensor:
    return z


# name: loss, samplers, linear generators, affine generators. Behind an affine first layer a translation of the hidden
# layer, c -> c + t, e -> e - W2 t, is bilinear in t and W2 and so linear in the parameters: GL(h) becomes its affine
# group, h more generators, only if constants are among the features.
CASES = {
    "scalar": two_layers(linear, 1, 1, 1, 1),
    "linear 2-2-2": two_layers(linear, 2, 2, 2, 4),
    "linear 2-3-2": two_layers(linear, 2, 3, 2, 9),
    "relu 2-3-2": two_layers(torch.relu, 2, 3, 2, 3),
    "square 2-3-2": two_layers(torch.square, 2, 3, 2, 3),
    "tanh 2-3-2": two_layers(torch.tanh, 2, 3, 2, 0),
    "sigmoid 1-3-3": two_layers(torch.sigmoid, 1, 3, 3, 0),
    "linear with biases": biased(linear, 2, 2, 2, 4, 6),
    "relu with biases": biased(torch.relu, 2, 3, 2, 3, 3),
    "leaky relu with biases": biased(F.leaky_relu, 1, 2, 2, 2, 2),
    "tanh with biases": biased(torch.tanh, 2, 3, 2, 0, 0),
    "scores 2": scores(2),
    "scores 3": scores(3),
    "transformer": Case(
        transformer,
        normal(q=(2, 2), k=(2, 2), v=(2, 2), w1=(2, 4), w2=(4, 2)),
        lambda n: torch.randn(n, 2, 2),
        20,
        20,
    ),
}


def literal_jacobians(loss, params: Any, data: Any) -> Tensor:
    """One sample after the other, one output after the other: (n, d, p)."""
    spaces = [Space.of(tree, "literal") for tree in (params, data)]
    theta, x = (space.flat(tree).double() for space, tree in zip(spaces, (params, data), strict=True))
    rows = []
    for t, d in zip(theta, x, strict=True):
        sample = spaces[1].tree(d)
        y = lambda v, sample=sample: loss(spaces[0].tree(v), sample).reshape(-1)  # noqa: E731
        rows.append(torch.autograd.functional.jacobian(y, t))
    return torch.stack(rows)
