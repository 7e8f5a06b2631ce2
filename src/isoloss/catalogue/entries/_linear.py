"""Two linear layers in a row."""

from torch import nn

from isoloss.catalogue._actions import adjacent, two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import gaussian
from isoloss.groups import GeneralLinear


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""
    group = GeneralLinear(h)
    return Example.of(two_layer(nn.Identity(), m, h, n), gaussian(n), group, adjacent(group))


LINEAR = Entry(
    name="Linear",
    source="Ex. 1.2.2, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2 (W_1 x + b_1) + b_2",
    group=r"GL_h(\mathbb{R})",
    action=r"(W_2 g^{-1},\ g W_1,\ b_2,\ g b_1)",
    dimension="h^2",
    limits=r"Nothing nonlinear between the layers. The biases add $b_1 + t,\ b_2 - W_2 t$ for any vector $t$.",
    example=example,
)
