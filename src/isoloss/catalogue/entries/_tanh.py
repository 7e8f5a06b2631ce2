"""Odd activations."""

from torch import nn

from isoloss.catalogue._actions import adjacent, two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import gaussian
from isoloss.groups import SignFlip


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""
    group = SignFlip(h)
    return Example.of(two_layer(nn.Tanh(), m, h, n), gaussian(n), group, adjacent(group))


TANH = Entry(
    name="Tanh",
    source="Ex. 1.2.5, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2 \tanh(W_1 x + b_1) + b_2",
    group=r"\mathbb{Z}_2^h",
    action=r"(W_2 g^{-1},\ g W_1,\ b_2,\ g b_1)",
    dimension="0",
    limits=r"Any odd activation. Printed as $\mathbb{Z}_2^n$ with $n$ the inputs: an element multiplies the rows of "
    r"$W_1$, so it has $h$ signs.",
    example=example,
)
