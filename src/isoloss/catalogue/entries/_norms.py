"""The other norms that Example 1.2.7 mentions."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Tensors, gaussian
from isoloss.groups import PositiveScaling


def layer_norm(m: int = 4, n: int = 5) -> Example:
    """Features m, inputs n."""

    def act(g: Tensor, theta: Tensors) -> Tensors:
        return {"0.weight": g * theta["0.weight"], "0.bias": g * theta["0.bias"]}

    norm = nn.LayerNorm(m, eps=0.0, elementwise_affine=False)
    return Example.of(nn.Sequential(nn.Linear(n, m), norm), gaussian(n), PositiveScaling(1), act)


def group_norm(groups: int = 2, m: int = 6, n: int = 5) -> Example:
    """Groups of m features together, inputs n."""

    def act(g: Tensor, theta: Tensors) -> Tensors:
        s = g.repeat_interleave(m // groups)
        return {"0.weight": s[:, None] * theta["0.weight"], "0.bias": s * theta["0.bias"]}

    norm = nn.GroupNorm(groups, m, eps=0.0, affine=False)
    return Example.of(nn.Sequential(nn.Linear(n, m), norm), gaussian(n), PositiveScaling(groups), act)


def weight_normed(m: int = 4, n: int = 5) -> Example:
    """Outputs m, inputs n."""
    direction = "parametrizations.weight.original1"

    def act(g: Tensor, theta: Tensors) -> Tensors:
        return {direction: g[:, None] * theta[direction]}

    return Example.of(weight_norm(nn.Linear(n, m)), gaussian(n), PositiveScaling(m), act)


LAYER_NORM = Entry(
    name="Layer normalization",
    source="Ex. 1.2.7 (mentioned)",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"LN(W x + b)",
    group=r"\mathbb{R}_{>0}",
    action="(g W,\\ g b)",
    dimension="1",
    limits=r"Exact for $\epsilon = 0$. One number for all features; the uniform shift is a symmetry, too.",
    example=layer_norm,
)
GROUP_NORM = Entry(
    name="Group normalization",
    source="Ex. 1.2.7 (mentioned)",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"GN(W x + b)",
    group=r"\mathbb{R}_{>0}^G",
    action="(g W,\\ g b)",
    dimension="G",
    limits=r"Exact for $\epsilon = 0$. One number per group of features.",
    example=group_norm,
)
WEIGHT_NORM = Entry(
    name="Weight normalization",
    source="Ex. 1.2.7 (mentioned)",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"s_i\, \frac{v_i^T x}{\lVert v_i \rVert} + b_i",
    group=r"\mathbb{R}_{>0}^m",
    action="(s,\\ g v,\\ b)",
    dimension="m",
    limits="The directions are scaled, row by row; no eps.",
    example=weight_normed,
)
