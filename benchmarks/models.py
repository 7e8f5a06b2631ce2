"""Networks of the sizes that people train, written by hand, with random weights and example inputs.

``MODELS`` maps a name to a builder of (model, example inputs). Each model is in eval mode, seeded, and plain: what is
measured on them should not depend on a library that may not be installed. Those of transformers raise
ModuleNotFoundError where it is missing.
"""
# ruff: noqa: D102 (forward computes what the line below the class says)

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Built = tuple[nn.Module, Any]
MODELS: dict[str, Callable[[], Built]] = {}


def model(builder: Callable[[], Built]) -> Callable[[], Built]:
    """Register a builder; its network comes out seeded and in eval mode."""

    def build() -> Built:
        torch.manual_seed(0)
        network, inputs = builder()
        return network.eval(), inputs

    MODELS[builder.__name__] = build
    return build


# --- dense ---


@model
def mlp() -> Built:
    """784-2048-2048-10, 5.8M parameters."""
    sizes = (784, 2048, 2048, 10)
    layers = [m for i, o in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1]), torch.randn(8, 784)


class Mixer(nn.Module):
    """One layer of MLP-Mixer."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.mix_tokens = _mlp(tokens, channels // 2)
        self.mix_channels = _mlp(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix_channels(self.norm2(x))


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


@model
def mixer_small() -> Built:
    """MLP-Mixer S/16: 8 layers, 512 channels, 196 tokens, 18.5M parameters."""
    patches = nn.Sequential(nn.Conv2d(3, 512, 16, 16), nn.Flatten(2), Transpose())
    layers = [Mixer(196, 512) for _ in range(8)]
    return nn.Sequential(patches, *layers, nn.LayerNorm(512), Mean(1), nn.Linear(512, 1000)), images(1, 224)


class Transpose(nn.Module):
    """Swap the last two axes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Mean(nn.Module):
    """Average over axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes)


def images(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size)


# --- convolutional ---


def conv_bn(i: int, o: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(o)]


class Residual(nn.Module):
    """body(x) + shortcut(x), then an activation if one is given."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


def basic_block(i: int, o: int, stride: int) -> Residual:
    body = nn.Sequential(*conv_bn(i, o, stride=stride), nn.ReLU(), *conv_bn(o, o))
    same = i == o and stride == 1
    shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(i, o, 1, stride=stride))
    return Residual(body, shortcut, nn.ReLU())


def _resnet18() -> nn.Sequential:
    stem = [*conv_bn(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    blocks = [
        basic_block(i if first else o, o, 2 if first and o > 64 else 1)
        for i, o in zip(widths, widths[1:], strict=False)
        for first in (True, False)
    ]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


@model
def resnet18() -> Built:
    """ResNet-18 of 64 to 512 channels, 11.7M parameters."""
    return _resnet18(), images(2, 64)


def inverted_residual(i: int, o: int, stride: int, expansion: int) -> nn.Module:
    h = i * expansion
    widen = [*conv_bn(i, h, 1), nn.ReLU6()] if expansion > 1 else []
    body = nn.Sequential(*widen, *conv_bn(h, h, stride=stride, groups=h), nn.ReLU6(), *conv_bn(h, o, 1))
    return Residual(body, nn.Identity(), nn.Identity()) if i == o and stride == 1 else body


@model
def mobilenet_v2() -> Built:
    """MobileNetV2, 3.5M parameters."""
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
    layers, width = [*conv_bn(3, 32, stride=2), nn.ReLU6()], 32
    for expansion, o, count, stride in [*plan, (6, 320, 1, 1)]:
        for k in range(count):
            layers.append(inverted_residual(width, o, stride if k == 0 else 1, expansion))
            width = o
    head = [*conv_bn(320, 1280, 1), nn.ReLU6(), Mean(2, 3), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *head), images(2, 64)


class UNet(nn.Module):
    """The U-Net of Ronneberger et al. with padding: skips joined by concatenation."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512, 1024), classes: int = 2) -> None:
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(self.double(i, o) for i, o in [(3, widths[0]), *pairs])
        self.up = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2) for i, o in reversed(pairs))
        self.merge = nn.ModuleList(self.double(2 * i, i) for i, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], classes, 1)

    @staticmethod
    def double(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(*conv_bn(i, o), nn.ReLU(), *conv_bn(o, o), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for k, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if k else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


@model
def unet() -> Built:
    """U-Net of 64 to 1024 channels, 31M parameters."""
    return UNet(), images(1, 64)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels, MLP, layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.mlp = nn.LayerNorm(width), _mlp(width, 4 * width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * y).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@model
def convnext_tiny() -> Built:
    """ConvNeXt-T: depths 3, 3, 9, 3, widths 96 to 768, 28.6M parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96)]
    for stage, (depth, width) in enumerate(zip((3, 3, 9, 3), (96, 192, 384, 768), strict=True)):
        if stage:
            layers += [ChannelNorm(width // 2), nn.Conv2d(width // 2, width, 2, 2)]
        layers += [ConvNextBlock(width) for _ in range(depth)]
    return nn.Sequential(*layers, Mean(2, 3), nn.LayerNorm(768), nn.Linear(768, 1000)), images(2, 64)


# --- attention ---


class Attention(nn.Module):
    """Self-attention with a fused QKV projection, as in GPT-2 and ViT."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads, causal=causal), _mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """GPT-2: learned positions, pre-norm blocks, head tied to the embedding."""

    def __init__(self, vocabulary: int, context: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@model
def gpt2_small() -> Built:
    """GPT-2 small: 12 layers of 768, 12 heads, 124M parameters."""
    return GPT(50257, 1024, 768, 12, 12), torch.randint(50257, (1, 32))


class ViT(nn.Module):
    """Vision transformer with a class token."""

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


@model
def vit_tiny() -> Built:
    """ViT-Ti/16: 12 layers of 192, 3 heads, 197 tokens, 5.7M parameters."""
    return ViT(224, 16, 192, 12, 3), images(1, 224)


def rotate(x: Tensor) -> Tensor:
    """Rotary positions: frequency i turns the coordinates i and i + d/2."""
    d = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(d) / d)
    a, b = x[..., :d], x[..., d:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class LlamaBlock(nn.Module):
    """RMSNorm, grouped-query attention with rotary positions, SwiGLU."""

    def __init__(self, width: int, heads: int, kv: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.size = width // heads
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, kv * self.size, bias=False)
        self.v = nn.Linear(width, kv * self.size, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (m(y).unflatten(-1, (-1, self.size)).transpose(1, 2) for m in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


@model
def llama() -> Built:
    """Llama-like: 12 layers of 768, 12 heads on 4 kv heads, untied head, 113M parameters."""
    vocabulary, width = 24576, 768
    blocks = [LlamaBlock(width, 12, 4, 2048) for _ in range(12)]
    ends = nn.RMSNorm(width, eps=1e-5), nn.Linear(width, vocabulary, bias=False)
    return nn.Sequential(nn.Embedding(vocabulary, width), *blocks, *ends), torch.randint(vocabulary, (1, 32))


@model
def transformer_encoder() -> Built:
    """nn.TransformerEncoder: 6 post-norm layers of 512, 8 heads, 18.9M parameters."""
    layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), torch.randn(2, 32, 512)


# --- recurrent ---


class LanguageLSTM(nn.Module):
    """Embedding, stacked LSTM, head."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.token(tokens))[0])


@model
def lstm() -> Built:
    """Two LSTM layers of 650 over a vocabulary of 10,000 (Zaremba et al., medium), 19.8M parameters."""
    return LanguageLSTM(10_000, 650, 2), torch.randint(10_000, (2, 20))


# --- transformers ---


class Logits(nn.Module):
    """The logits of a Hugging Face model, without the cache."""

    def __init__(self, language_model: nn.Module) -> None:
        super().__init__()
        self.model = language_model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(input_ids=tokens, use_cache=False).logits


@model
def hf_gpt2_small() -> Built:
    """GPT-2 small of transformers, 124M parameters."""
    import transformers as hf

    return Logits(hf.GPT2LMHeadModel(hf.GPT2Config())), torch.randint(50257, (1, 32))


@model
def hf_llama_small() -> Built:
    """Llama of transformers with the sizes of `llama`."""
    import transformers as hf

    config = hf.LlamaConfig(
        vocab_size=24576,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
    )
    return Logits(hf.LlamaForCausalLM(config)), torch.randint(24576, (1, 32))
