"""The papers' networks: matrices without biases, with LeakyReLU of slope 0.1 in between."""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from isoloss.finding import find
from isoloss.symmetry import Symmetries

SLOPE = 0.1

Weights = tuple[Tensor, ...]
"""The matrices from the input on, each (out, in)."""


class Perceptron(nn.Sequential):
    """A network of the papers as a module: `weights` are its parameters, in order.

    Args:
        widths: Of the input, the hidden layers and the output.
        generator: Draws the weights, by torch's default rule for nn.Linear; the global one if absent.
    """

    def __init__(self, widths: Sequence[int], generator: torch.Generator | None = None):
        layers: list[nn.Module] = []
        for incoming, outgoing in zip(widths[:-1], widths[1:], strict=True):
            # The dtype is named: `find`, in another thread, changes the default one for a while.
            layer = nn.Linear(incoming, outgoing, bias=False, dtype=torch.float32)
            layers += [layer, nn.LeakyReLU(SLOPE)]
        super().__init__(*layers[:-1])
        for w in self.weights:
            nn.init.uniform_(w, -(w.shape[1] ** -0.5), w.shape[1] ** -0.5, generator=generator)

    @property
    def weights(self) -> Weights:
        """The parameters."""
        return tuple(self.parameters())


FINDING = Lock()
"""Held while symmetries are searched, so that threads of one worker find those of a shape once."""


@lru_cache(maxsize=16)
def _found(widths: tuple[int, ...]) -> Symmetries:
    twin = Perceptron(widths, torch.Generator().manual_seed(0))
    return find(
        twin, torch.randn(4, widths[0], generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    )


def symmetries(model: Perceptron) -> Symmetries:
    """Those of a network, found and verified once for all networks of its widths."""
    ws = model.weights
    with FINDING:
        return _found((ws[0].shape[1], *(len(w) for w in ws))).bind(model)


def act(z: Tensor) -> Tensor:
    """LeakyReLU."""
    return leaky_relu(z, SLOPE)


def unact(h: Tensor) -> Tensor:
    """The inverse of LeakyReLU."""
    return leaky_relu(h, 1 / SLOPE)


def pinv(h: Tensor) -> Tensor:
    """The pseudo-inverse; nan where training has diverged, for which LAPACK has an exception only."""
    return torch.linalg.pinv(h) if h.isfinite().all() else torch.full_like(h.mT, torch.nan) * h.sum()


def outputs(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Outputs (sample, out) for inputs (sample, in)."""
    for w in weights[:-1]:
        x = act(x @ w.mT)
    return x @ weights[-1].mT
