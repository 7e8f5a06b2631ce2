"""Attention, and several heads of it."""

from math import sqrt

import torch
from torch import Tensor, nn

from isoloss.catalogue._entry import Entry, Example
from isoloss.catalogue._kind import Kind
from isoloss.catalogue._problem import Data, Tensors, normal
from isoloss.groups import GeneralLinear, Permutation

D_M, D_K, D_V, HEADS = 6, 3, 2, 2


class Attention(nn.Module):
    """Dot-product attention of one or several heads without biases; the last layer mixes the heads, if there is one."""

    def __init__(self, heads: int, *, mixed: bool):
        super().__init__()
        self.heads = heads
        self.q, self.k = (nn.Linear(D_M, heads * D_K, bias=False) for _ in range(2))
        self.v = nn.Linear(D_M, heads * D_V, bias=False)
        self.o = nn.Linear(heads * D_V, D_M, bias=False) if mixed else nn.Identity()

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Values mixed by how well queries and keys agree, shape (sample, token, feature)."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for p, x in ((self.q, q), (self.k, k), (self.v, v))
        )
        weights = (q @ k.mT / sqrt(D_K)).softmax(-1)
        return self.o((weights @ v).transpose(-3, -2).flatten(-2))


def tokens(count: int = 5) -> Data:
    """Three sequences per sample: those of queries, keys and values."""

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(normal((n, count, D_M), generator) for _ in range(3))

    return draw


def by_head(weight: Tensor, heads: int) -> Tensor:
    """Rows of a weight as (head, row, column). Modules keep the transpose of what the dissertation multiplies with."""
    return weight.unflatten(0, (heads, -1))


def query_key(heads: int):
    r"""Moves :math:`(W^Q_i, W^K_i) \mapsto (W^Q_i g_i^{-1}, W^K_i g_i^T)`."""

    def act(g: Tensor, theta: Tensors) -> Tensors:
        g = g.reshape(heads, D_K, D_K)
        return {
            "q.weight": (torch.linalg.inv(g).mT @ by_head(theta["q.weight"], heads)).flatten(0, 1),
            "k.weight": (g @ by_head(theta["k.weight"], heads)).flatten(0, 1),
        }

    return act


def value_output(g: Tensor, theta: Tensors) -> Tensors:
    r"""Moves :math:`(W^V_i, W^O_i) \mapsto (W^V_i g_i^{-1}, g_i W^O_i)`."""
    v, o = by_head(theta["v.weight"], HEADS), by_head(theta["o.weight"].mT, HEADS)
    return {
        "v.weight": (torch.linalg.inv(g).mT @ v).flatten(0, 1),
        "o.weight": (g @ o).flatten(0, 1).mT,
    }


def heads_permuted(g: Tensor, theta: Tensors) -> Tensors:
    """Whole heads change places."""
    moved = {f"{p}.weight": by_head(theta[f"{p}.weight"], HEADS)[g].flatten(0, 1) for p in "qkv"}
    return moved | {"o.weight": by_head(theta["o.weight"].mT, HEADS)[g].flatten(0, 1).mT}


def one_head() -> Example:
    """A single head."""
    return Example.of(Attention(1, mixed=False), tokens(), GeneralLinear(D_K), query_key(1))


def queries_and_keys() -> Example:
    """One matrix per head."""
    model = Attention(HEADS, mixed=True)
    return Example.of(model, tokens(), GeneralLinear(D_K), query_key(HEADS), (HEADS,))


def values_and_outputs() -> Example:
    """One matrix per head."""
    return Example.of(Attention(HEADS, mixed=True), tokens(), GeneralLinear(D_V), value_output, (HEADS,))


def heads() -> Example:
    """The heads themselves."""
    return Example.of(Attention(HEADS, mixed=True), tokens(), Permutation(HEADS), heads_permuted)


_MANY = r"\mathrm{Concat}(\mathrm{head}_1, \dots, \mathrm{head}_h)\, W^O"
ATTENTION = Entry(
    name="Attention",
    source="Ex. 1.2.11",
    kind=Kind.NETWORK,
    of="network",
    architecture=r"\mathrm{softmax}(Q W^Q (K W^K)^T / \sqrt{d_k})\, V W^V",
    group=r"GL_{d_k}(\mathbb{R})",
    action=r"(W^Q g^{-1},\ W^K g^T,\ W^V)",
    dimension="d_k^2",
    limits="Biases of queries, keys and values move along; that of the keys is free. Nothing between projection and "
    "product: rotary embeddings leave phases, norms rotations.",
    example=one_head,
)
MULTI_HEAD_KEYS = Entry(
    name="Multi-head attention, queries and keys",
    source="Ex. 1.2.12",
    kind=Kind.NETWORK,
    of="network",
    architecture=_MANY,
    group=r"GL_{d_k}(\mathbb{R})^h",
    action=r"(W_i^Q g_i^{-1},\ W_i^K g_i^T,\ W_i^V,\ W_i^O)",
    dimension="h\\, d_k^2",
    limits="As for one head. Grouped queries share the matrix of their keys.",
    example=queries_and_keys,
)
MULTI_HEAD_VALUES = Entry(
    name="Multi-head attention, values and outputs",
    source="Ex. 1.2.12",
    kind=Kind.NETWORK,
    of="network",
    architecture=_MANY,
    group=r"GL_{d_v}(\mathbb{R})^h",
    action=r"(W_i^Q,\ W_i^K,\ W_i^V g_i^{-1},\ g_i W_i^O)",
    dimension="h\\, d_v^2",
    limits="Only where the heads are mixed by a last layer.",
    example=values_and_outputs,
)
MULTI_HEAD_HEADS = Entry(
    name="Multi-head attention, heads",
    source="Ex. 1.2.12",
    kind=Kind.NETWORK,
    of="network",
    architecture=_MANY,
    group="S_h",
    action=r"(W_{\pi^{-1}(i)}^Q,\ W_{\pi^{-1}(i)}^K,\ W_{\pi^{-1}(i)}^V,\ W_{\pi^{-1}(i)}^O)",
    dimension="0",
    limits="Heads of one width, and no bias of scores that tells them apart.",
    example=heads,
)
