"""Activations that are homogeneous of some degree."""

from torch import Tensor, nn

from isoloss.catalogue._actions import adjacent, two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import gaussian
from isoloss.groups import PositiveScaling


class Power(nn.Module):
    """The activation max(z, 0) ** alpha."""

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, z: Tensor) -> Tensor:
        """The activations."""
        return z.relu() ** self.alpha


def example(m: int = 3, h: int = 4, n: int = 5, alpha: float = 2) -> Example:
    """Outputs m, hidden units h, inputs n, degree alpha."""
    group = PositiveScaling(h)
    return Example.of(two_layer(Power(alpha), m, h, n), gaussian(n), group, adjacent(group, alpha))


HOMOGENEOUS = Entry(
    name="Homogeneous",
    source="Ex. 1.2.4, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2\,\sigma(W_1 x + b_1) + b_2,\ \sigma(c z) = c^\alpha \sigma(z),\ c > 0",
    group=r"\mathbb{R}_{>0}^h",
    action=r"(W_2 g^{-\alpha},\ g W_1,\ b_2,\ g b_1)",
    dimension="h",
    limits=r"Positive factors only, unless the activation is odd or even as well (monomials). ReLU and LeakyReLU have "
    r"$\alpha = 1$; the example is $\max(z, 0)^2$. Degrees may differ from unit to unit, and then $g^\alpha$ "
    r"has the entries $g_i^{\alpha_i}$. Biases move with the rows of $W_1$.",
    example=example,
)
