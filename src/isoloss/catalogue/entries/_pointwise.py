"""The same activation for all hidden units."""

from torch import nn

from isoloss.catalogue._actions import adjacent, two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import gaussian
from isoloss.groups import Permutation


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""
    group = Permutation(h)
    return Example.of(two_layer(nn.Softplus(), m, h, n), gaussian(n), group, adjacent(group))


POINTWISE = Entry(
    name="Pointwise",
    source="Ex. 1.2.9, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2\,\sigma(W_1 x + b_1) + b_2,\ \sigma_i = \sigma_j",
    group="S_h",
    action=r"(W_2 g^{-1},\ g W_1,\ b_2,\ g b_1)",
    dimension="0",
    limits="The same function for every unit. The example, Softplus, has no other symmetry.",
    example=example,
)
