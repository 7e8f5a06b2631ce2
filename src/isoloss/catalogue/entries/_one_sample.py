"""All of GL(h) on a hidden layer, for one sample at a time."""

import torch
from torch import Tensor

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Problem, Tensors, gaussian, normal
from isoloss.dependent import Activation, Rotation
from isoloss.dependent import act as dependent_act
from isoloss.groups import GeneralLinear

SOFTPLUS = Activation(torch.nn.functional.softplus, torch.sigmoid)


def network(theta: Tensors, x: Tensor) -> Tensor:
    """The outputs for samples as rows."""
    return SOFTPLUS.value(x @ theta["W1"].mT) @ theta["W2"].mT


def act(g: Tensor, theta: Tensors, x: Tensor) -> Tensors:
    """The action of R_z, for one sample, shape (1, n)."""
    moved = dependent_act(Rotation(), g, theta["W1"], theta["W2"], x.mT, SOFTPLUS)
    return dict(zip(("W1", "W2"), moved, strict=True))


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""

    def weights(generator: torch.Generator) -> Tensors:
        return {"W1": normal((h, n), generator), "W2": normal((m, h), generator)}

    return Example(Problem(network, weights, gaussian(n)), GeneralLinear(h), act, samples=1)


ONE_SAMPLE = Entry(
    name="Two-layer network, one sample",
    source="Ex. 1.3.5",
    kind=Kind.DATA_DEPENDENT,
    of="network",
    architecture=r"W_2\,\sigma(W_1 x),\ \sigma(z) \ne 0",
    group=r"GL_h(\mathbb{R})",
    action=r"(W_2\,R_{\sigma(W_1 x)} R_{\sigma(g W_1 x)}^{-1},\ g W_1)",
    dimension="h^2",
    limits=r"One sample; other inputs are changed. `Frame()` of [dependent.md](dependent.md) is one for every batch of "
    r"up to $h$ samples. Needs $\sigma(z) \ne 0$ at $W_1 x$ and $g W_1 x$ only; the example is Softplus.",
    example=example,
)
