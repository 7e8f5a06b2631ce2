"""Activations that rescale the whole vector of hidden units by a function of its length."""

from torch import Tensor, nn

from isoloss.catalogue._actions import adjacent, two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import gaussian
from isoloss.groups import Orthogonal


class Radial(nn.Module):
    r"""The activation :math:`\sigma(z) = \tanh(\lVert z \rVert)\, z`."""

    def forward(self, z: Tensor) -> Tensor:
        """The rescaled units."""
        return z.norm(dim=-1, keepdim=True).tanh() * z


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""
    group = Orthogonal(h)
    return Example.of(two_layer(Radial(), m, h, n), gaussian(n), group, adjacent(group))


RADIAL = Entry(
    name="Radial rescaling",
    source="Ex. 1.2.6, Table 1.1",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2\,\sigma(W_1 x + b_1) + b_2,\ \sigma(z) = f(\lVert z \rVert)\, z",
    group="O(h)",
    action=r"(W_2 g^{-1},\ g W_1,\ b_2,\ g b_1)",
    dimension=r"h (h - 1) / 2",
    limits="Samples are drawn from the component of the rotations; reflections are symmetries as well.",
    example=example,
)
