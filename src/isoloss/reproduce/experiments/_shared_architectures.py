"""The networks of dissertation section 6.5: their losses, how they are sampled, and the symmetries known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from isoloss.discovery import NullSpace, Sample, Space, normal, null_space
from isoloss.discovery._sampler import seeded

Tensors = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """A loss with standard normal parameters and data.

    Attributes:
        value: From parameters and data to one loss for each data point, (d,).
        params: Shapes of the parameters.
        shapes: Of the data, by the number of data points.
        generators: k, how many are learned; the text tells 1 for "scalar" and 8 for "transformer".
        points: d, data points in one sample.
        dependent: Whether the dissertation's weights for data-dependent symmetries are meant for it.
        fresh: Whether the published recipe draws new samples in every step, as section 6.5.5 does.
        known: Directions of the known data-independent symmetries, from parameters (n, ...) to (n, r, p).
    """

    value: Callable[[Tensors, Tensors], Tensor]
    params: Shapes
    shapes: Callable[[int], Shapes]
    generators: int
    points: int = 1
    dependent: bool = True
    fresh: bool = False
    known: Callable[[Tensors], Tensor] | None = None

    @property
    def sample_params(self) -> Sample:
        """Standard normal parameters."""
        return normal(**self.params)

    @property
    def sample_data(self) -> Sample:
        """Standard normal data."""
        return normal(**self.shapes(self.points))

    @property
    def space(self) -> Space:
        """Of the parameters."""
        return Space.of(self.sample_params(1), "reproduce")

    def drawn(self, n: int, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters and data, float64, that training does not see."""
        with seeded(seed):
            drawn = self.sample_params(n), self.sample_data(n)
        theta, x = ({name: t.double() for name, t in tree.items()} for tree in drawn)
        return theta, x


def null_dimension(architecture: Architecture, points: int, n: int, seed: int) -> int:
    """Median dimension of the null space of that many losses."""
    return int(null_of(replace(architecture, points=points), n, seed).dimension.median())


def null_of(architecture: Architecture, n: int, seed: int) -> NullSpace:
    """The null spaces of the losses at n held-out points."""
    return null_space(architecture.value, *architecture.drawn(n, seed))


# --- Known symmetries ---


def placed(architecture_params: Shapes, moves: Mapping[str, Tensor]) -> Tensor:
    """Moves of some parameters, (n, r, *shape) each, as directions of all of them, (n, r, p)."""
    some = next(iter(moves.values()))
    blocks = [
        (moves[name] if name in moves else some.new_zeros(*some.shape[:2], *shape)).flatten(2)
        for name, shape in architecture_params.items()
    ]
    return torch.cat(blocks, -1)


def general(h: int) -> Tensor:
    """A basis of gl(h), (h * h, h, h)."""
    return torch.eye(h * h, dtype=torch.float64).reshape(h * h, h, h)


def diagonal(h: int) -> Tensor:
    """A basis of its diagonal matrices, (h, h, h)."""
    return torch.diag_embed(torch.eye(h, dtype=torch.float64))


def between(algebra: Tensor, incoming: Tensor, outgoing: Tensor) -> tuple[Tensor, Tensor]:
    """Velocities of (g V, U g^-1) along the elements of an algebra, (n, r, h, i) and (n, r, o, h)."""
    return torch.einsum("rab,nbi->nrai", algebra, incoming), -torch.einsum("noa,rab->nrob", outgoing, algebra)


def _two_layers_known(algebra: Callable[[int], Tensor], shapes: Shapes, w: Tensors) -> Tensor:
    first, second = between(algebra(shapes["W1"][0]), w["W1"], w["W2"])
    return placed(shapes, {"W1": first, "W2": second})


def _attention_moves(w: Tensors) -> dict[str, Tensor]:
    """Q and K enter as Q K^T alone: GL(d)."""
    query, key = between(general(w["Q"].shape[-1]), w["Q"].mT, w["K"])
    return {"Q": query.mT, "K": key}


def _transformer_known(shapes: Shapes, w: Tensors) -> Tensor:
    """GL(d) of Q and K, and GL(d_ff) of W1 W2."""
    inner, outer = between(general(w["W1"].shape[-1]), w["W2"], w["W1"])
    ours = placed(shapes, {"W1": outer, "W2": inner})
    return torch.cat([placed(shapes, _attention_moves(w)), ours], 1)


# --- Losses ---


def _two_layers(activation: Callable[[Tensor], Tensor], w: Tensors, x: Tensors) -> Tensor:
    return (w["W2"] @ activation(w["W1"] @ x["X"]) - x["Y"]).square().sum(0)


def _three_layers(skip: bool, w: Tensors, x: Tensors) -> Tensor:
    z = torch.tanh(w["W1"] @ x["X"])
    z = torch.tanh(w["W2"] @ z) + (z if skip else 0.0)
    return (w["W3"] @ z - x["Y"]).square().sum(0)


def _attention(w: Tensors, x: Tensors) -> Tensor:
    inputs = x["X"]
    weights = torch.softmax((inputs @ w["Q"]) @ (inputs @ w["K"]).mT, -1)
    return (weights - x["Y"]).square().sum((-1, -2))


def _transformer(w: Tensors, x: Tensors) -> Tensor:
    inputs = x["X"]
    q, k, v = (inputs @ w[name] for name in "QKV")
    z = inputs + torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v
    return (z @ w["W1"] @ w["W2"] - x["Y"]).square().mean((-1, -2, -3))


def _identity(z: Tensor) -> Tensor:
    return z


def _perceptron(
    activation: Callable[[Tensor], Tensor],
    sizes: tuple[int, int, int],
    generators: int,
    algebra: Callable[[int], Tensor] | None = None,
    points: int = 1,
) -> Architecture:
    """Inputs, hidden units, outputs."""
    i, h, o = sizes
    params: Shapes = {"W1": (h, i), "W2": (o, h)}
    return Architecture(
        partial(_two_layers, activation),
        params,
        lambda d: {"X": (i, d), "Y": (o, d)},
        generators,
        points,
        dependent=algebra is None,
        known=None if algebra is None else partial(_two_layers_known, algebra, params),
    )


def _deep(skip: bool) -> Architecture:
    return Architecture(
        partial(_three_layers, skip),
        {"W1": (2, 2), "W2": (2, 2), "W3": (1, 2)},
        lambda d: {"X": (2, d), "Y": (1, d)},
        generators=2,
    )


QK: Shapes = {"Q": (2, 2), "K": (2, 2)}
TINY: Shapes = QK | {"V": (2, 2), "W1": (2, 4), "W2": (4, 2)}
BATCH, TOKENS = 8, 2
"""Of the tiny transformer, whose loss is the mean over a batch: one data point is a batch."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "scalar": _perceptron(_identity, (1, 1, 1), 1, general),
    "linear": _perceptron(_identity, (2, 2, 2), 4, general, points=16),
    "relu": _perceptron(torch.relu, (2, 3, 2), 3, diagonal, points=24),
    "attention": Architecture(
        _attention,
        QK,
        lambda d: {"X": (d, 3, 2), "Y": (d, 3, 3)},
        generators=4,
        points=16,
        dependent=False,
        known=lambda w: placed(QK, _attention_moves(w)),
    ),
    "sigmoid": _perceptron(torch.sigmoid, (3, 3, 1), 2),
    "tanh": _perceptron(torch.tanh, (3, 3, 1), 2),
    "three-layer": _deep(skip=False),
    "skip": _deep(skip=True),
    "transformer": Architecture(
        _transformer,
        TINY,
        lambda d: {"X": (d, BATCH, TOKENS, 2), "Y": (d, BATCH, TOKENS, 2)},
        generators=8,
        fresh=True,
        known=partial(_transformer_known, TINY),
    ),
}
"""By name. Where symmetries are known on all data, there are enough data points that they are the only ones."""

LABELS: Mapping[str, str] = {
    "scalar": "linear, 1-1-1",
    "linear": "linear, 2-2-2",
    "relu": "ReLU, 2-3-2",
    "attention": "attention, Q and K",
    "sigmoid": "sigmoid, 3-3-1",
    "tanh": "tanh, 3-3-1",
    "three-layer": "tanh, 2-2-2-1",
    "skip": "tanh, 2-2-2-1, skip",
    "transformer": "tiny transformer",
}
