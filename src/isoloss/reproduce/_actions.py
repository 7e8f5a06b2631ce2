"""The data-dependent actions as the papers' experiments use them, literally, and repaired step by step.

These are the slow, plain forms that the published numbers were made with; `isoloss.dependent` has the ones to use.
Matrices hold samples as columns here, as in the papers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from isoloss.reproduce._network import Weights, act, pinv, unact

Elements = Sequence[Tensor]
"""One algebra element T for every hidden layer, (width, width)."""


@dataclass(frozen=True)
class First:
    r"""Action 1: :math:`(U, V) \mapsto (U g^{-1}, \sigma^{-1}(g \sigma(V h)) h^+)`, for all hidden layers at once.

    Attributes:
        inverse: "first order" takes I + T for g and I - T for its inverse, as published; "exact" inverts I + T.
        form: "papers" as above; "difference" adds to V only the change, and so does nothing at the identity.

    The pairs are moved from the last to the first, each with the hidden layers of before the move. In this order that
    is consistent: with the exact inverse the outputs on the batch stay, and with the first-order one the loss changes
    at the published rates as the published code's does; in the other order it explodes.

    References:
        Dissertation Eq. (4.13) and Section 4.6.1.
    """

    inverse: Literal["first order", "exact"] = "first order"
    form: Literal["papers", "difference"] = "papers"

    def __call__(self, weights: Weights, elements: Elements, x: Tensor) -> Weights:
        """Move the weights by g = I + T, for inputs x (sample, in)."""
        moved, below = list(weights), hidden(weights, x)
        for m in reversed(range(len(elements))):
            t, h = elements[m], below[m]
            z, u = weights[m] @ h, moved[m + 1]
            target = unact(act(z) + t @ act(z))
            if self.form == "papers":
                moved[m] = target @ pinv(h)
            else:
                moved[m] = weights[m] + (target - z) @ pinv(h)
            g = torch.eye(len(t), dtype=t.dtype) + t
            moved[m + 1] = (
                u - u @ t if self.inverse == "first order" else torch.linalg.solve(g, u, left=False)
            )
        return tuple(moved)


@dataclass(frozen=True)
class Second:
    r"""Action 2: :math:`(U, V) \mapsto (U \sigma(V h) \sigma(g V h)^+, g V)`, for all hidden layers at once.

    Attributes:
        hidden: "kept" uses the hidden layers h of before the move throughout, as the published code does, and its
            loss moves; "moved" those of the network moved so far.
        form: "papers" as above; "difference" :math:`U + U (S - S') S'^+` with :math:`S = \sigma(V h)`,
            :math:`S' = \sigma(g V h)`, which does nothing at the identity.

    References:
        Dissertation Eq. (4.16).
    """

    hidden: Literal["kept", "moved"] = "kept"
    form: Literal["papers", "difference"] = "papers"

    def __call__(self, weights: Weights, elements: Elements, x: Tensor) -> Weights:
        """Move the weights by g = I + T, for inputs x (sample, in)."""
        moved, h, below = list(weights), x.mT, x.mT
        for m, t in enumerate(elements):
            above = act(weights[m] @ h)
            v, u = moved[m], moved[m + 1]
            moved[m] = v + t @ v
            before, after = act(v @ below), act(moved[m] @ below)
            inverse = pinv(after)
            moved[m + 1] = (
                u @ before @ inverse if self.form == "papers" else u + u @ (before - after) @ inverse
            )
            h, below = above, above if self.hidden == "kept" else after
        return tuple(moved)


Action = First | Second


def hidden(weights: Weights, x: Tensor) -> tuple[Tensor, ...]:
    """The inputs of every matrix but the last, samples as columns."""
    layers = [x.mT]
    for w in weights[:-2]:
        layers.append(act(w @ layers[-1]))
    return tuple(layers)


def zeros(weights: Weights) -> tuple[Tensor, ...]:
    """The identity's algebra elements."""
    return tuple(w.new_zeros(len(w), len(w)) for w in weights[:-1])


def like(elements: Elements, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Random elements, each with the Frobenius norm of the one given: the control that knows no gradient."""
    drawn = [torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in elements]
    return tuple(d * (t.norm() / d.norm()) for d, t in zip(drawn, elements, strict=True))
