"""A loss that sees codes through their inner products only."""

import torch
from torch import Tensor

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Problem, Tensors, normal
from isoloss.groups import Orthogonal


def codes(theta: Tensors, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """The linear codes W x and W x' of pairs, shape (sample, 2, m)."""
    return torch.stack(pairs, 1) @ theta["W"].mT


def contrast(y: Tensor, pairs: tuple[Tensor, Tensor]) -> Tensor:
    """How unlike f(x)^T f(x') is to x^T x', per sample."""
    x, other = pairs
    return ((y[:, 0] * y[:, 1]).sum(-1) - (x * other).sum(-1)) ** 2


def act(g: Tensor, theta: Tensors) -> Tensors:
    """Codes are rotated; nothing undoes it."""
    return {"W": g @ theta["W"]}


def example(m: int = 3, n: int = 5) -> Example:
    """Codes of m numbers, inputs of n."""

    def pairs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return normal((count, n), generator), normal((count, n), generator)

    def weights(generator: torch.Generator) -> Tensors:
        return {"W": normal((m, n), generator)}

    return Example(Problem(codes, weights, pairs, contrast), Orthogonal(m), act)


SELF_SUPERVISED = Entry(
    name="Self-supervised linear network",
    source="Ex. 1.3.2",
    kind=Kind.LOSS,
    of="loss",
    architecture=r"L(W, x)\ \text{through}\ f(x)^T f(x'),\ f(x) = W x",
    group="O(m)",
    action="g W",
    dimension="m (m - 1) / 2",
    limits="The codes change: no symmetry of the network. What is trained on the codes has to move along.",
    example=example,
)
