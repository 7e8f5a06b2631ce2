"""Attention: torch's own modules, hand-written layouts, grouped queries, rotary embeddings, transformers."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import (
    Built,
    complex_scaling,
    entry,
    linear,
    orthogonal,
    permutation,
    scaling,
    sign,
    translation,
)

D, H, C = 6, 2, 3  # model width, heads, width of a head: H * C = D
GL_HEADS = H * C * C  # GL(C) of every head, once for QK, once for VO


def heads(x: Tensor, h: int) -> Tensor:
    """n, t, (h c) -> n, h, t, c"""
    n, t, d = x.shape
    return x.view(n, t, h, d // h).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """n, h, t, c -> n, t, (h c)"""
    n, h, t, c = x.shape
    return x.transpose(1, 2).reshape(n, t, h * c)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ v


def causal(t: int) -> Tensor:
    return torch.ones(t, t, dtype=torch.bool).tril()


class Attention(nn.Module):
    """Separate projections."""

    def __init__(self, *, bias: bool = True, mode: str = "softmax") -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=bias) for _ in range(4))
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x), H) for p in (self.q, self.k, self.v))
        match self.mode:
            case "softmax":
                y = attend(q, k, v)
            case "causal":
                y = attend(q, k, v, causal(x.shape[1]))
            case "sdpa":
                y = F.scaled_dot_product_attention(q, k, v)
            case "sdpa_causal":
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            case "sdpa_mask":
                mask = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype).masked_fill(
                    ~causal(x.shape[1]), -1e4
                )
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            case "einsum":
                w = torch.einsum("nhqc,nhkc->nhqk", q, k).mul(C**-0.5).softmax(-1)
                y = torch.einsum("nhqk,nhkc->nhqc", w, v)
            case "linear":  # no softmax at all
                y = (q @ k.transpose(-2, -1)) @ v
            case "sigmoid":
                y = (q @ k.transpose(-2, -1)).sigmoid() @ v
            case "relu":
                y = (q @ k.transpose(-2, -1)).relu() @ v
        return self.o(merge(y))


QKVO = ("q.weight", "k.weight", "v.weight", "o.weight")
QKVO_BIASED = (*QKVO, "q.bias", "k.bias", "v.bias")
BIASED_TERMS = {
    "GL(3) of each head between queries and keys": GL_HEADS,
    "GL(3) of each head between values and output": GL_HEADS,
    "the key bias shifts each query's scores uniformly": D,
    "the value bias moves into the output bias: attention weights sum to one": D,
}
BIASED = [
    linear(C, "q.weight", "q.bias", "k.weight", batch=(H,)),
    linear(C, "v.weight", "v.bias", "o.weight", batch=(H,)),
    translation("k.bias"),
    translation("v.bias", "o.bias"),
    permutation(H, *QKVO_BIASED),
]
X = (2, 4, D)

for _mode in ("softmax", "causal", "sdpa", "sdpa_causal", "sdpa_mask", "einsum"):
    entry(BIASED_TERMS, BIASED, name=f"attention_{_mode}")(
        lambda mode=_mode: (Attention(mode=mode), torch.randn(X))
    )

entry(
    {"GL(3) of each head, QK and VO": 2 * GL_HEADS},
    [
        linear(C, "q.weight", "k.weight", batch=(H,)),
        linear(C, "v.weight", "o.weight", batch=(H,)),
        permutation(H, *QKVO),
    ],
    name="attention_no_bias",
)(lambda: (Attention(bias=False), torch.randn(X)))
entry(
    {"GL(3) of each head, QK and VO": 2 * GL_HEADS, "scores against values: a factor of each head": H},
    [linear(C, "q.weight", "k.weight", batch=(H,)), linear(C, "v.weight", "o.weight", batch=(H,))],
    name="attention_without_softmax",
)(lambda: (Attention(bias=False, mode="linear"), torch.randn(X)))
entry(
    {"GL(3) of each head, QK and VO": 2 * GL_HEADS},
    [
        linear(C, "q.weight", "q.bias", "k.weight", "k.bias", batch=(H,)),
        linear(C, "v.weight", "v.bias", "o.weight", batch=(H,)),
        permutation(H, *QKVO_BIASED),
    ],
    not_group=[("Translation", "k.bias"), ("Translation", "v.bias")],
    name="attention_sigmoid",
)(lambda: (Attention(mode="sigmoid"), torch.randn(X)))
entry(
    {"GL(3) of each head, QK and VO": 2 * GL_HEADS, "relu scores against values: a factor of each head": H},
    [linear(C, "q.weight", "k.weight", batch=(H,)), linear(C, "v.weight", "o.weight", batch=(H,))],
    name="attention_relu_scores",
)(lambda: (Attention(bias=False, mode="relu"), torch.randn(X)))

Layout = Literal["3hd", "h3d", "chunk", "split", "unbind_last", "conv1x1"]


class FusedAttention(nn.Module):
    """One projection for queries, keys and values, cut in one of the usual ways."""

    def __init__(self, layout: Layout, *, bias: bool = True) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(D, 3 * D, bias=bias), nn.Linear(D, D)
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        z = self.qkv(x)
        n, t, _ = z.shape
        if self.layout == "3hd":  # ViT of timm: (3, H, C)
            q, k, v = z.reshape(n, t, 3, H, C).permute(2, 0, 3, 1, 4).unbind(0)
        elif self.layout == "h3d":  # GPT-NeoX: (H, 3, C)
            q, k, v = z.view(n, t, H, 3, C).permute(0, 2, 1, 3, 4).unbind(3)
        elif self.layout == "h3c_chunk":  # GPT-NeoX: (H, 3 C), chunked
            q, k, v = z.view(n, t, H, 3 * C).transpose(1, 2).chunk(3, dim=-1)
        elif self.layout == "chunk":
            q, k, v = (heads(p, H) for p in z.chunk(3, dim=-1))
        elif self.layout == "split":  # GPT-2
            q, k, v = (heads(p, H) for p in z.split(D, dim=2))
        else:  # slices
            q, k, v = (heads(z[..., i * D : (i + 1) * D], H) for i in range(3))
        return self.o(merge(attend(q, k, v)))


for _layout in ("3hd", "h3d", "h3c_chunk", "chunk", "split", "slices"):
    entry(
        BIASED_TERMS,
        [
            linear(C, "qkv.weight", "qkv.bias", batch=(H,)),
            linear(C, "qkv.weight", "qkv.bias", "o.weight", batch=(H,)),
            translation("qkv.bias"),
            translation("qkv.bias", "o.bias"),
            permutation(H, "qkv.weight", "qkv.bias", "o.weight"),
        ],
        name=f"attention_fused_{_layout}",
    )(lambda layout=_layout: (FusedAttention(layout), torch.randn(X)))


class CrossAttention(Attention):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = heads(self.q(x), H), heads(self.k(y), H), heads(self.v(y), H)
        return self.o(merge(attend(q, k, v)))


@entry(BIASED_TERMS, BIASED)
def attention_cross() -> Built:
    return CrossAttention(), (torch.randn(X), torch.randn(2, 5, D))


# --- grouped queries ---

KV = 2  # kv heads; 4 query heads


class GroupedQuery(nn.Module):
    """4 query heads of width 3 share 2 key and value heads."""

    def __init__(self, how: str, *, kv: int = KV) -> None:
        super().__init__()
        self.q = nn.Linear(D, 12, bias=False)
        self.k, self.v = nn.Linear(D, kv * C, bias=False), nn.Linear(D, kv * C, bias=False)
        self.o = nn.Linear(12, D, bias=False)
        self.how, self.kv = how, kv

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.q(x), 4), heads(self.k(x), self.kv), heads(self.v(x), self.kv)
        n, _, t, c = k.shape
        r = 4 // self.kv
        if self.how == "enable_gqa":
            return self.o(merge(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))
        if self.how == "expand":
            k, v = (z[:, :, None].expand(n, self.kv, r, t, c).reshape(n, 4, t, c) for z in (k, v))
        elif self.how == "repeat_interleave":
            k, v = (z.repeat_interleave(r, dim=1) for z in (k, v))
        elif self.how == "broadcast":  # queries grouped instead
            q = q.view(n, self.kv, r, t, c)
            y = attend(q, k[:, :, None], v[:, :, None])
            return self.o(merge(y.reshape(n, 4, t, c)))
        elif self.how == "multi_query":
            k, v = k.expand(n, 4, t, c), v.expand(n, 4, t, c)
        return self.o(merge(attend(q, k, v)))


for _how in ("expand", "repeat_interleave", "enable_gqa", "broadcast"):
    entry(
        {
            "GL(3) of each kv head between its queries and keys": KV * 9,
            "and between values and output": KV * 9,
        },
        [
            linear(C, "q.weight", "k.weight", batch=(KV,)),
            linear(C, "v.weight", "o.weight", batch=(KV,)),
            permutation(KV, *QKVO),
            permutation(2, "q.weight", "o.weight", batch=(KV,)),
        ],
        name=f"gqa_{_how}",
    )(lambda how=_how: (GroupedQuery(how), torch.randn(X)))
entry(
    {"GL(3) of the one kv head, QK and VO": 9 + 9},
    [
        linear(C, "q.weight", "k.weight", batch=None),
        linear(C, "v.weight", "o.weight", batch=None),
        permutation(4, "q.weight", "o.weight", batch=None),
    ],
    name="multi_query",
)(lambda: (GroupedQuery("multi_query", kv=1), torch.randn(X)))


# --- rotary embeddings ---

R = 4  # width of a rotary head: 2 frequencies


def rope_tables(t: int, c: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    frequency = 3.0 ** (-torch.arange(0, c, 2, dtype=dtype) / c)
    angle = torch.arange(t, dtype=dtype)[:, None] * frequency  # t, c / 2
    return angle.cos(), angle.sin()


def rope_half(x: Tensor) -> Tensor:
    """rotate_half of Llama: frequency f pairs channel f with f + c / 2"""
    cos, sin = (torch.cat([a, a], -1) for a in rope_tables(x.shape[-2], x.shape[-1], x.dtype))
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


def rope_interleaved(x: Tensor) -> Tensor:
    """GPT-J: frequency f pairs channel 2 f with 2 f + 1"""
    cos, sin = rope_tables(x.shape[-2], x.shape[-1], x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def rope_pairs(x: Tensor) -> Tensor:
    """The same through a view as pairs."""
    cos, sin = rope_tables(x.shape[-2], x.shape[-1], x.dtype)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


class RotaryAttention(nn.Module):
    def __init__(self, rope, *, kv: int = 2, bias: bool = False, d: int = 8, t_heads: int = 2) -> None:  # noqa: ANN001
        super().__init__()
        self.q = nn.Linear(d, t_heads * R, bias=bias)
        self.k, self.v = nn.Linear(d, kv * R, bias=bias), nn.Linear(d, kv * R, bias=bias)
        self.o = nn.Linear(t_heads * R, d, bias=bias)
        self.rope, self.kv, self.h = rope, kv, t_heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.q(x), self.h), heads(self.k(x), self.kv), heads(self.v(x), self.kv)
        q, k = self.rope(q), self.rope(k)
        r = self.h // self.kv
        if r > 1:
            k, v = k.repeat_interleave(r, dim=1), v.repeat_interleave(r, dim=1)
        return self.o(merge(attend(q, k, v, causal(x.shape[1]))))


for _name, _rope in {"half": rope_half, "interleaved": rope_interleaved, "pairs": rope_pairs}.items():
    entry(
        {
            "C* of each head and frequency: 2 heads, 2 frequencies, 2 real dimensions": 8,
            "GL(4) of each head between values and output": 32,
        },
        [
            complex_scaling(2, "q.weight", "k.weight", batch=(2,)),
            linear(R, "v.weight", "o.weight", batch=(2,)),
            permutation(2, *QKVO),
        ],
        not_group=[("GeneralLinear", "q.weight")],
        name=f"rope_{_name}",
    )(lambda rope=_rope: (RotaryAttention(rope), torch.randn(2, 5, 8)))
entry(
    {
        "C* of each kv head and frequency": 8,
        "GL(4) of each kv head between values and output": 32,
    },
    [complex_scaling(2, "q.weight", "k.weight", batch=(2,)), linear(R, "v.weight", "o.weight", batch=(2,))],
    name="rope_gqa",
)(lambda: (RotaryAttention(rope_half, t_heads=4), torch.randn(2, 5, 8)))
entry(
    {
        "C* of each head and frequency": 8,
        "GL(4) of each head between values and output": 32,
        "value bias into output bias; the key bias is rotated, hence not free": 8,
    },
    [
        complex_scaling(2, "q.weight", "q.bias", "k.weight", "k.bias", batch=(2,)),
        translation("v.bias", "o.bias"),
    ],
    not_group=[("Translation", "k.bias")],
    name="rope_biased",
)(lambda: (RotaryAttention(rope_half, bias=True), torch.randn(2, 5, 8)))


# --- normalized queries and keys ---


class QKNorm(nn.Module):
    def __init__(self, norm, *, rope: bool = False) -> None:  # noqa: ANN001
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = norm(4), norm(4)
        self.rope = rope_half if rope else (lambda z: z)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x), 2) for p in (self.q, self.k, self.v))
        q, k = self.rope(self.q_norm(q)), self.rope(self.k_norm(k))
        return self.o(merge(attend(q, k, v)))


entry(
    {
        "GL(4) of each head between values and output": 32,
        "weight of one norm against the other, common to the heads": 4,
    },
    [
        linear(4, "v.weight", "o.weight", batch=(2,)),
        scaling(4, "q_norm.weight", "k_norm.weight"),
        permutation(2, *QKVO),
        permutation(4, "q.weight", "k.weight", "q_norm.weight", "k_norm.weight"),
    ],
    approximate={"R+ of each head's queries, and of its keys": 4},
    name="qk_rmsnorm",
)(lambda: (QKNorm(lambda c: nn.RMSNorm(c, eps=1e-5)), torch.randn(2, 4, 8)))
entry(
    {
        "GL(4) of each head between values and output": 32,
        "weight of one norm against the other: R+ of each frequency": 2,
    },
    [linear(4, "v.weight", "o.weight", batch=(2,)), scaling(2, "q_norm.weight", "k_norm.weight")],
    approximate={"R+ of each head's queries, and of its keys": 4},
    name="qk_rmsnorm_rope",
)(lambda: (QKNorm(lambda c: nn.RMSNorm(c, eps=1e-5), rope=True), torch.randn(2, 5, 8)))
entry(
    {
        "GL(4) of each head between values and output": 32,
        "weight of one norm against the other": 4,
        "uniform shift of each head's queries and keys: W += 1 v^T": 2 * 2 * 8,
        "the bias of the key norm shifts scores uniformly": 4,
    },
    [
        linear(4, "v.weight", "o.weight", batch=(2,)),
        translation("k_norm.bias"),
        translation("q.weight"),
        translation("k.weight"),
    ],
    beyond={
        "q_norm.bias += 1 / k_norm.weight: meets keys that sum to zero": 1,
        "one rotation of both hyperplanes that the diagonal weights can follow": 1,
    },
    approximate={"R+ of each head's queries, and of its keys": 4},
    name="qk_layernorm",
)(lambda: (QKNorm(nn.LayerNorm), torch.randn(2, 4, 8)))


class CosineAttention(Attention):
    """Swin v2: cosine of queries and keys over a learned temperature per head."""

    def __init__(self) -> None:
        super().__init__(bias=False)
        self.temperature = nn.Parameter(torch.ones(H, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(p(x), H) for p in (self.q, self.k, self.v))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.o(merge(scores.softmax(-1) @ v))


@entry(
    {
        "GL(3) of each head between values and output": GL_HEADS,
        "O(3) of each head between normalized queries and keys": H * 3,
        "length of each head's queries, of its keys": 2 * H,
    },
    [
        linear(C, "v.weight", "o.weight", batch=(H,)),
        orthogonal(C, "q.weight", "k.weight", batch=(H,)),
        permutation(H, *QKVO, "temperature"),
    ],
)
def attention_cosine() -> Built:
    return CosineAttention(), torch.randn(X)


@entry(
    {**BIASED_TERMS, "uniform shift of each head's position scores": H},
    [*BIASED[:4], permutation(H, *QKVO_BIASED, "table"), translation("table")],
)
def attention_relative_bias() -> Built:
    """A learned table of scores by relative position, as in Swin and T5."""

    class Net(Attention):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(7, H))

        def forward(self, x: Tensor) -> Tensor:
            t = x.shape[1]
            q, k, v = (heads(p(x), H) for p in (self.q, self.k, self.v))
            index = torch.arange(t)[:, None] - torch.arange(t) + t - 1
            scores = q @ k.transpose(-2, -1) * C**-0.5 + self.table[index].permute(2, 0, 1)
            return self.o(merge(scores.softmax(-1) @ v))

    return Net(), torch.randn(X)


@entry(
    {
        "C* of each head and frequency": 8,
        "GL(4) of each head between values and output": 32,
    },
    [complex_scaling(2, "q.weight", "k.weight", batch=(2,)), linear(R, "v.weight", "o.weight", batch=(2,))],
)
def rope_complex() -> Built:
    """The rotation as a product of complex numbers."""

    def rope(x: Tensor) -> Tensor:
        cos, sin = rope_tables(x.shape[-2], x.shape[-1], x.dtype)
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)
        return torch.view_as_real(z).flatten(-2)

    return RotaryAttention(rope), torch.randn(2, 5, 8)


@entry(BIASED_TERMS, BIASED[:4])
def attention_alibi() -> Built:
    """A fixed slope per head tells the heads apart: they cannot be permuted."""

    class Net(Attention):
        def forward(self, x: Tensor) -> Tensor:
            t = torch.arange(x.shape[1], dtype=x.dtype)
            q, k, v = (heads(p(x), H) for p in (self.q, self.k, self.v))
            slopes = torch.tensor([0.5, 0.25], dtype=x.dtype)[:, None, None]
            scores = q @ k.transpose(-2, -1) * C**-0.5 + slopes * (t - t[:, None])
            return self.o(merge(scores.softmax(-1) @ v))

    return Net(), torch.randn(X)


@entry(BIASED_TERMS, BIASED)
def attention_key_mask() -> Built:
    """A padding mask comes in with the data."""

    class Net(Attention):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            q, k, v = (heads(p(x), H) for p in (self.q, self.k, self.v))
            return self.o(merge(attend(q, k, v, mask[:, None, None, :])))

    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    return Net(), (torch.randn(X), mask)


@entry(
    BIASED_TERMS,
    [
        linear(C, "qkv.weight", "qkv.bias", batch=(H,)),
        linear(C, "qkv.weight", "qkv.bias", "o.weight", batch=(H,)),
        translation("qkv.bias", "o.bias"),
    ],
)
def attention_conv1x1() -> Built:
    """Queries, keys and values of an image by one 1x1 convolution."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.o = nn.Conv2d(D, 3 * D, 1), nn.Conv2d(D, D, 1)

        def forward(self, x: Tensor) -> Tensor:
            n, _, y, w = x.shape
            q, k, v = self.qkv(x).reshape(n, 3, H, C, y * w).unbind(1)
            scores = torch.einsum("nhct,nhcs->nhts", q, k) * C**-0.5
            z = torch.einsum("nhts,nhcs->nhct", scores.softmax(-1), v)
            return self.o(z.reshape(n, D, y, w))

    return Net(), torch.randn(2, D, 2, 3)


@entry(
    {
        "GL(3) of each head between latent queries and keys": GL_HEADS,
        "GL(3) of each head between values and output": GL_HEADS,
        "key bias": D,
        "value bias into output bias": D,
    },
    [
        linear(C, "latents", "k.weight", batch=(H,)),
        linear(C, "v.weight", "v.bias", "o.weight", batch=(H,)),
        translation("k.bias"),
        permutation(H, "latents", "k.weight", "v.weight", "o.weight"),
    ],
)
def attention_latent_queries() -> Built:
    """Learned queries, as in Perceiver or attention pooling."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents = nn.Parameter(torch.randn(H, 4, C))
            self.k, self.v, self.o = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(merge(attend(self.latents, heads(self.k(x), H), heads(self.v(x), H))))

    return Net(), torch.randn(X)


@entry(
    {
        "GL(4) of the shared latent": 16,
        "GL(3) of each head, QK and VO": 2 * GL_HEADS,
    },
    [
        linear(4, "down.weight", "k.weight", "v.weight"),
        linear(C, "q.weight", "k.weight", batch=(H,)),
        linear(C, "v.weight", "o.weight", batch=(H,)),
    ],
)
def attention_latent_kv() -> Built:
    """Keys and values from one low-rank latent, as in multi-head latent attention."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.down = nn.Linear(D, D, bias=False), nn.Linear(D, 4, bias=False)
            self.k, self.v = nn.Linear(4, D, bias=False), nn.Linear(4, D, bias=False)
            self.o = nn.Linear(D, D, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            z = self.down(x)
            return self.o(merge(attend(heads(self.q(x), H), heads(self.k(z), H), heads(self.v(z), H))))

    return Net(), torch.randn(X)


# --- torch's own modules ---

MHA = ("in_proj_weight", "out_proj.weight")
MHA_BIASED = [
    linear(C, "in_proj_weight", "in_proj_bias", batch=(H,)),
    linear(C, *MHA, "in_proj_bias", batch=(H,)),
    translation("in_proj_bias"),
    translation("in_proj_bias", "out_proj.bias"),
    permutation(H, *MHA, "in_proj_bias"),
]


class SelfMHA(nn.Module):
    def __init__(self, weights: bool = False, **options: bool) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(D, H, batch_first=True, **options)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x, x, x, need_weights=self.weights)[0]


def prefixed(expected: list, prefix: str) -> list:
    return [
        type(e)(e.group, e.size, e.batch, frozenset(f"{prefix}.{slot}" for slot in e.slots)) for e in expected
    ]


for _weights in (False, True):
    entry(BIASED_TERMS, prefixed(MHA_BIASED, "mha"), name=f"mha_{'weights' if _weights else 'fast'}")(
        lambda weights=_weights: (SelfMHA(weights), torch.randn(X))
    )
entry(
    {"GL(3) of each head, QK and VO": 2 * GL_HEADS},
    prefixed([linear(C, "in_proj_weight", batch=(H,)), linear(C, *MHA, batch=(H,))], "mha"),
    name="mha_no_bias",
)(lambda: (SelfMHA(bias=False), torch.randn(X)))


class CrossMHA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(D, H, kdim=8, vdim=7, batch_first=True)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.mha(q, k, v)[0]


@entry(
    BIASED_TERMS,
    prefixed(
        [
            linear(C, "q_proj_weight", "k_proj_weight", "in_proj_bias", batch=(H,)),
            linear(C, "v_proj_weight", "out_proj.weight", "in_proj_bias", batch=(H,)),
            permutation(H, "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"),
        ],
        "mha",
    ),
)
def mha_cross() -> Built:
    return CrossMHA(), (torch.randn(2, 4, D), torch.randn(2, 5, 8), torch.randn(2, 5, 7))


FF = ("linear1.weight", "linear1.bias", "linear2.weight")
POST_TERMS = {
    **BIASED_TERMS,
    "shift into norm1 by the output projection": D + 1,
    "shift into norm2 by linear2": 7 + 1,
    "bias of norm1: into linear1.bias and linear2.bias": D,
    "annihilated direction of linear1": 7,
}
PRE_TERMS = {
    **BIASED_TERMS,
    "norm1 weight against in_proj columns": D,
    "norm1 bias into in_proj bias": D,
    "annihilated direction of in_proj": 3 * D,
    "norm2 weight against linear1": D,
    "norm2 bias into linear1.bias": D,
    "annihilated direction of linear1": 7,
    "uniform shift of the stream: out_proj.bias against linear2.bias": 1,
}
for _norm_first, _terms in ((False, POST_TERMS), (True, PRE_TERMS)):
    for _activation in ("relu", "gelu"):
        entry(
            _terms | ({"R+ of each hidden unit": 7} if _activation == "relu" else {}),
            [
                *prefixed(MHA_BIASED, "self_attn"),
                *([scaling(7, *FF)] if _activation == "relu" else []),
                permutation(7, *FF),
            ],
            seed=1,
            name=f"encoder_layer_{'pre' if _norm_first else 'post'}_{_activation}",
        )(
            lambda norm_first=_norm_first, activation=_activation: (
                nn.TransformerEncoderLayer(
                    D, H, 7, batch_first=True, norm_first=norm_first, activation=activation
                ),
                torch.randn(X),
            )
        )


MHA_PARTS = [permutation(H, *MHA, "in_proj_bias"), translation("in_proj_bias", "out_proj.bias")]


@entry(
    {
        "self attention: GL of each head, key and value biases": 2 * GL_HEADS + 2 * D,
        "cross attention: the same": 2 * GL_HEADS + 2 * D,
        "uniform shift into norm1, norm2 by the output projections": 2 * (D + 1),
        "into norm3 by linear2": 7 + 1,
        "bias of norm1: into the cross queries' and output bias": D,
        "annihilated direction of the cross queries": D,
        "bias of norm2: into linear1.bias and linear2.bias": D,
        "annihilated direction of linear1": 7,
        "R+ of each hidden unit": 7,
    },
    [
        scaling(7, *FF),
        permutation(7, *FF),
        *prefixed(MHA_PARTS, "self_attn"),
        *prefixed(MHA_PARTS, "multihead_attn"),
    ],
)
def decoder_layer() -> Built:
    return nn.TransformerDecoderLayer(D, H, 7, batch_first=True), (torch.randn(X), torch.randn(2, 5, D))


@entry(
    {
        "both layers, each without its last line": 2 * (sum(PRE_TERMS.values()) - 1),
        "R+ of each hidden unit": 2 * 7,
        "uniform shifts of the stream: three earlier biases against layers.1.linear2.bias": 3,
    },
    [
        scaling(7, *(f"layers.1.{slot}" for slot in FF)),
        permutation(7, *(f"layers.0.{slot}" for slot in FF)),
        translation("layers.0.norm2.bias", "layers.0.linear1.bias"),
    ],
    seed=1,
)
def encoder_two_layers() -> Built:
    layer = nn.TransformerEncoderLayer(D, H, 7, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(X)


# --- whole transformers ---


class Block(nn.Module):
    """Pre-norm block, fused qkv with biases, GELU."""

    def __init__(self, d: int, h: int, f: int, *, causal: bool) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, f), nn.Linear(f, d)
        self.h, self.causal = h, causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(z, self.h) for z in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        x = x + self.o(merge(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    def __init__(
        self, *, tied: bool, d: int = 4, f: int = 5, vocabulary: int = 7, t: int = 4, blocks: int = 1
    ) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(vocabulary, d), nn.Embedding(t, d)
        self.blocks = nn.ModuleList(Block(d, 2, f, causal=True) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tok_emb.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def block_terms(d: int, h: int, f: int) -> dict[str, int]:
    """Of a pre-norm block with biases in a stream that only layer norms and writers touch."""
    c = d // h
    return {
        "GL of each head, QK and VO": 2 * h * c * c,
        "key bias": d,
        "value bias into output bias": d,
        "both norms' weights against their readers": 2 * d,
        "both norms' biases into their readers": 2 * d,
        "annihilated directions of qkv and up": 3 * d + f,
        "uniform shift of the stream by o and down, weights and biases": d + 1 + f + 1,
    }


GPT_BLOCK = [
    linear(2, "blocks.0.qkv.weight", "blocks.0.qkv.bias", batch=(2,)),
    linear(2, "blocks.0.qkv.weight", "blocks.0.qkv.bias", "blocks.0.o.weight", batch=(2,)),
    permutation(2, "blocks.0.qkv.weight", "blocks.0.o.weight"),
    permutation(5, "blocks.0.up.weight", "blocks.0.up.bias", "blocks.0.down.weight"),
    scaling(4, "blocks.0.ln1.weight", "blocks.0.ln1.bias", "blocks.0.qkv.weight"),
    translation("blocks.0.qkv.bias", "blocks.0.o.bias"),
    translation("pos_emb.weight"),
]


@entry(
    {**block_terms(4, 2, 5), "uniform shift of each position": 4},
    [*GPT_BLOCK, permutation(4, "tok_emb.weight", "pos_emb.weight", "norm.weight", "blocks.0.o.weight")],
    vocabulary=7,
)
def gpt_tied() -> Built:
    return GPT(tied=True), torch.randint(7, (2, 4))


@entry(
    {
        **block_terms(4, 2, 5),
        "uniform shift of each position, of each token": 4 + 7,
        "tokens against positions": 4,
        "of which the uniform part is counted twice": -1,
        "O of the hyperplane orthogonal to ones": 3,
        "last norm's weight against the head": 4,
    },
    [
        *GPT_BLOCK,
        translation("tok_emb.weight"),
        translation("tok_emb.weight", "pos_emb.weight"),
        orthogonal(4, "tok_emb.weight", "pos_emb.weight", "head.weight", "blocks.0.o.weight"),
        scaling(4, "norm.weight", "norm.bias", "head.weight"),
    ],
    beyond={"last norm's bias against the head, nonlinearly: no bias follows": 4},
    approximate={"R+ of the whole stream": 1},
    vocabulary=7,
)
def gpt_untied() -> Built:
    return GPT(tied=False), torch.randint(7, (2, 4))


class Llama(nn.Module):
    """RMSNorm, RoPE, grouped queries, SwiGLU, untied head, no biases."""

    def __init__(self, *, d: int = 8, f: int = 5, vocabulary: int = 9, layers: int = 1) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(vocabulary, d), nn.Linear(d, vocabulary, bias=False)
        self.attn = nn.ModuleList(RotaryAttention(rope_half, t_heads=4, d=d) for _ in range(layers))
        self.gate = nn.ModuleList(nn.Linear(d, f, bias=False) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(d, f, bias=False) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(f, d, bias=False) for _ in range(layers))
        self.norm1 = nn.ModuleList(nn.RMSNorm(d, eps=1e-5) for _ in range(layers))
        self.norm2 = nn.ModuleList(nn.RMSNorm(d, eps=1e-5) for _ in range(layers))
        self.norm = nn.RMSNorm(d, eps=1e-5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        layers = zip(self.attn, self.gate, self.up, self.down, self.norm1, self.norm2, strict=True)
        for attn, gate, up, down, norm1, norm2 in layers:
            x = x + attn(norm1(x))
            z = norm2(x)
            x = x + down(F.silu(gate(z)) * up(z))
        return self.head(self.norm(x))


@entry(
    {
        "C* of each kv head and frequency": 2 * 2 * 2,
        "GL(4) of each kv head, VO": 2 * 16,
        "R+ of each SwiGLU unit": 5,
        "three norm weights against their readers": 3 * 8,
        "O of the stream through every norm: 8 * 7 / 2": 28,
    },
    [
        complex_scaling(2, "attn.0.q.weight", "attn.0.k.weight", batch=(2,)),
        linear(4, "attn.0.v.weight", "attn.0.o.weight", batch=(2,)),
        scaling(5, "up.0.weight", "down.0.weight"),
        sign(5, "up.0.weight", "down.0.weight"),
        permutation(5, "gate.0.weight", "up.0.weight", "down.0.weight"),
        scaling(8, "norm.weight", "head.weight"),
        scaling(8, "norm1.0.weight", "attn.0.q.weight", "attn.0.k.weight", "attn.0.v.weight"),
        orthogonal(8, "emb.weight", "attn.0.q.weight", "attn.0.o.weight", "down.0.weight", "head.weight"),
        permutation(2, *(f"attn.0.{w}" for w in QKVO)),
        permutation(2, "attn.0.q.weight", "attn.0.o.weight", batch=(2,)),
    ],
    approximate={"R+ of the whole stream": 1},
    vocabulary=9,
)
def llama_like() -> Built:
    return Llama(), torch.randint(9, (2, 5))


class ViT(nn.Module):
    def __init__(self, pool: str, d: int = 4, f: int = 5) -> None:
        super().__init__()
        self.pool = pool
        self.patch = nn.Conv2d(1, d, 2, stride=2)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 5, d))
        self.block = Block(d, 2, f, causal=False)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos
        x = self.norm(self.block(x))
        return self.head(x[:, 0] if self.pool == "cls" else x.mean(1))


VIT_TERMS = {
    **block_terms(4, 2, 5),
    "cls against its position": 4,
    "patch bias against the other positions": 4,
    "uniform shift by patch kernels, its bias and 5 positions; cls is counted above": 4 + 5,
    "last norm: weight, bias, annihilated direction of the head": 4 + 4 + 3,
    "O of the hyperplane": 3,
}


@entry(
    VIT_TERMS,
    [
        translation("cls", "pos"),
        translation("patch.bias", "pos"),
        linear(2, "block.qkv.weight", "block.qkv.bias", batch=(2,)),
        scaling(4, "norm.weight", "norm.bias", "head.weight"),
        translation("norm.bias", "head.bias"),
        translation("head.weight", "head.bias"),
        permutation(5, "block.up.weight", "block.down.weight"),
    ],
    approximate={"R+ of the whole stream": 1},
)
def vit_small() -> Built:
    return ViT("mean"), torch.randn(2, 1, 4, 4)


class Mixer(nn.Module):
    def __init__(self, d: int = 4, t: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, d, 2, stride=2)
        self.norm1, self.norm2, self.norm = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.token1, self.token2 = nn.Linear(t, 5), nn.Linear(5, t)
        self.channel1, self.channel2 = nn.Linear(d, 6), nn.Linear(6, d)
        self.head = nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)  # n, t, d
        x = x + self.token2(F.gelu(self.token1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.channel2(F.gelu(self.channel1(self.norm2(x))))
        return self.head(self.norm(x).mean(1))


@entry(
    VIT_TERMS,
    [permutation(5, "block.up.weight", "block.down.weight"), translation("norm.bias", "head.bias")],
    beyond={"the query of the class token is a constant: only its products with the keys are seen": 17},
    approximate={"R+ of the whole stream": 1},
)
def vit_cls() -> Built:
    """Only the class token is read, and it is a constant: its query could be any weights' product."""
    return ViT("cls"), torch.randn(2, 1, 4, 4)


@entry(
    {
        "token2.bias is common to all channels of a token: annihilated by the later norms": 4,
        "uniform shift of the stream by the patch kernels and bias, by channel2 and its bias": 4 + 1 + 6 + 1,
        "uniform part of norm1.bias into token1.bias": 1,
        "norm1 as a whole against token1.weight": 1,
        "norm2: weight, bias, annihilated direction of channel1": 4 + 4 + 6,
        "last norm: weight, bias, annihilated direction of the head": 4 + 4 + 3,
    },
    [
        permutation(5, "token1.weight", "token1.bias", "token2.weight"),
        permutation(6, "channel1.weight", "channel1.bias", "channel2.weight"),
        permutation(4, "patch.weight", "patch.bias", "norm1.weight", "channel2.weight", "head.weight"),
        translation("norm.bias", "head.bias"),
        scaling(4, "norm2.weight", "norm2.bias", "channel1.weight"),
    ],
)
def mlp_mixer() -> Built:
    return Mixer(), torch.randn(2, 1, 4, 4)
