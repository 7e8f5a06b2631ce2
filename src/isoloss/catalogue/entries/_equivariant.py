"""An activation that is equivariant with a representation of its own: the general statement."""

from torch import Tensor, nn

from isoloss.catalogue._actions import two_layer
from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Tensors, gaussian
from isoloss.groups import PositiveScaling


class Gate(nn.Module):
    r"""The activation :math:`\sigma(z)_i = \max(z_i, 0)\,z_{i+1}`, indices modulo h."""

    def forward(self, z: Tensor) -> Tensor:
        """The gated units."""
        return z.relu() * z.roll(-1, -1)


def act(g: Tensor, theta: Tensors) -> Tensors:
    r"""Here :math:`\rho(g) = \mathrm{diag}(g_i g_{i+1})`, a representation that is none of the defining ones."""
    rho = g * g.roll(-1)
    return {
        "0.weight": g[:, None] * theta["0.weight"],
        "0.bias": g * theta["0.bias"],
        "2.weight": theta["2.weight"] / rho,
    }


def example(m: int = 3, h: int = 4, n: int = 5) -> Example:
    """Outputs m, hidden units h, inputs n."""
    return Example.of(two_layer(Gate(), m, h, n), gaussian(n), PositiveScaling(h), act)


EQUIVARIANT = Entry(
    name="Equivariant activation",
    source="Prop. 1.2.3",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"W_2\,\sigma(W_1 x + b_1) + b_2,\ \sigma(g z) = \rho(g)\,\sigma(z)",
    group=r"G,\ \rho: G \to GL_h(\mathbb{R})",
    action=r"(W_2\,\rho(g^{-1}),\ g W_1,\ b_2,\ g b_1)",
    dimension=r"\dim G",
    limits=r"The example is a gate, $\sigma(z)_i = \max(z_i, 0)\,z_{i+1}$, with $G = \mathbb{R}_{>0}^h$ and "
    r"$\rho(g) = \mathrm{diag}(g_i g_{i+1})$. The printed $b_1 \in \mathbb{R}^n$ must be $\mathbb{R}^h$.",
    example=example,
)
