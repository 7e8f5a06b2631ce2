"""Random small architectures: hundreds of distinct networks to find, move and verify symmetries on.

``random_model(seed)`` draws one of four families (vectors, images, sequences, recurrent) and composes it from the
stages below. A stage maker takes the random source, the width of the axis it acts on and the depth it may still
nest, and returns a module with its new width. Vectors and sequences carry their width last, images second.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import generic_

Stage = tuple[nn.Module, int]
Maker = Callable[[Random, int, int], Stage]


# --- combinators ---


class Fn(nn.Module):
    """A function, named for the printout."""

    def __init__(self, name: str, f: Callable[..., Tensor]) -> None:
        super().__init__()
        self.name, self.f = name, f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)

    def extra_repr(self) -> str:
        return self.name


class Residual(nn.Module):
    """shortcut(x) + f(x)"""

    def __init__(self, f: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.f, self.shortcut = f, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.f(x)


class Concat(nn.Module):
    """[x, f(x)] along an axis."""

    def __init__(self, f: nn.Module, dim: int) -> None:
        super().__init__()
        self.f, self.dim = f, dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.f(x)], dim=self.dim)


class Product(nn.Module):
    """f(x) * gate(g(x))"""

    def __init__(self, f: nn.Module, g: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.f, self.g, self.gate = f, g, gate

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x) * self.gate(self.g(x))


class Split(nn.Module):
    """Slices of the last axis go their own ways and are joined again."""

    def __init__(self, sizes: list[int], parts: list[nn.Module], how: str) -> None:
        super().__init__()
        self.sizes, self.parts, self.how = sizes, nn.ModuleList(parts), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "split":
            pieces = x.split(self.sizes, dim=-1)
        else:
            stops = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes))]
            pieces = [x[..., stop - size : stop] for stop, size in zip(stops, self.sizes, strict=True)]
        return torch.cat([f(piece) for f, piece in zip(self.parts, pieces, strict=True)], dim=-1)


class Loop(nn.Module):
    """One module, several times."""

    def __init__(self, f: nn.Module, times: int) -> None:
        super().__init__()
        self.f, self.times = f, times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.f(x)
        return x


class Fixed(nn.Module):
    """Something constant done to the last axis: it tells the units apart."""

    def __init__(self, how: str, d: int) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("constant", torch.linspace(0.5, 1.5, d))

    def forward(self, x: Tensor) -> Tensor:
        match self.how:
            case "flip":
                return x + 0.5 * x.flip(-1)
            case "roll":
                return x + 0.5 * x.roll(1, -1)
            case "multiply":
                return x * self.constant
            case "add":
                return x + self.constant
            case "cumsum":
                return x.cumsum(-1)
            case _:
                return x[..., torch.arange(x.shape[-1]).roll(1)]


class RMSNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


class LoRA(nn.Module):
    def __init__(self, i: int, o: int, r: int) -> None:
        super().__init__()
        self.base, self.a, self.b = nn.Linear(i, o), nn.Linear(i, r, bias=False), nn.Linear(r, o, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2.0 * self.b(self.a(x))


class Tied(nn.Module):
    """W^T f(W x + b)"""

    def __init__(self, d: int, h: int, f: nn.Module) -> None:
        super().__init__()
        self.encode, self.f = nn.Linear(d, h), f

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.f(self.encode(x)), self.encode.weight.t())


class GroupedLinear(nn.Module):
    """The last axis in groups, each with its own matrix."""

    def __init__(self, groups: int, i: int, o: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(groups, o, i)), nn.Parameter(torch.zeros(groups, o))

    def forward(self, x: Tensor) -> Tensor:
        g, _, i = self.weight.shape
        return (torch.einsum("...gi,goi->...go", x.unflatten(-1, (g, i)), self.weight) + self.bias).flatten(
            -2
        )


class Bilinear(nn.Module):
    def __init__(self, d: int, o: int) -> None:
        super().__init__()
        self.left, self.right, self.form = nn.Linear(d, 3), nn.Linear(d, 3), nn.Bilinear(3, 3, o)

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self.left(x), self.right(x))


class ScaleShift(nn.Module):
    """A learned factor and offset per channel (layer scale, IA3)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.gamma, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.bias


# --- small choices ---

ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    lambda: nn.LeakyReLU(0.3),
    nn.Tanh,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.PReLU,
    nn.ELU,
    nn.Softsign,
    nn.Sigmoid,
    lambda: Fn("relu squared", lambda x: F.relu(x).square()),
    lambda: Fn("sin", torch.sin),
    lambda: Fn("abs", torch.abs),
]


def activation(rng: Random) -> nn.Module:
    return rng.choice(ACTIVATIONS)()


def odd_or_homogeneous(rng: Random) -> nn.Module:
    """The ones that have continuous or sign symmetries, more often than the others."""
    return rng.choice([nn.ReLU, lambda: nn.LeakyReLU(0.3), nn.Tanh, nn.GELU])()


def width(rng: Random) -> int:
    return rng.randint(3, 7)


def project(rng: Random, i: int, o: int) -> nn.Module:
    """One of the ways to write a linear map."""
    match rng.choice(["linear", "linear", "linear", "no bias", "low rank", "lora", "weight norm"]):
        case "no bias":
            return nn.Linear(i, o, bias=False)
        case "low rank":
            return nn.Sequential(nn.Linear(i, 2, bias=False), nn.Linear(2, o))
        case "lora":
            return LoRA(i, o, 2)
        case "weight norm":
            return nn.utils.parametrizations.weight_norm(nn.Linear(i, o))
        case _:
            return nn.Linear(i, o)


def vector_norm(rng: Random, d: int, *, batch: bool = True) -> nn.Module:
    makers: list[Callable[[], nn.Module]] = [
        lambda: nn.LayerNorm(d),
        lambda: nn.LayerNorm(d, elementwise_affine=False),
        lambda: nn.RMSNorm(d, eps=1e-5),
        lambda: RMSNorm(d),
    ]
    if batch:
        makers += [lambda: nn.BatchNorm1d(d), lambda: nn.BatchNorm1d(d, affine=False)]
        makers += [lambda: nn.GroupNorm(2, d)] if d % 2 == 0 else []
    return rng.choice(makers)()


# --- stages on the last axis ---


def dense(rng: Random, d: int, depth: int) -> Stage:
    o = width(rng)
    return nn.Sequential(project(rng, d, o), odd_or_homogeneous(rng)), o


def linear_only(rng: Random, d: int, depth: int) -> Stage:
    o = width(rng)
    return project(rng, d, o), o


def normalized(rng: Random, d: int, depth: int) -> Stage:
    return vector_norm(rng, d, batch=False), d


def active(rng: Random, d: int, depth: int) -> Stage:
    return activation(rng), d


def residual(rng: Random, d: int, depth: int) -> Stage:
    inner, o = chain(rng, d, depth - 1, VECTOR, rng.randint(1, 2))
    back = nn.Linear(o, d, bias=rng.random() < 0.7)
    norm = [vector_norm(rng, d, batch=False)] if rng.random() < 0.4 else []
    shortcut = nn.Linear(d, d) if rng.random() < 0.2 else None
    return Residual(nn.Sequential(*norm, inner, back), shortcut), d


def concatenated(rng: Random, d: int, depth: int) -> Stage:
    inner, o = chain(rng, d, depth - 1, VECTOR, 1)
    return Concat(inner, -1), d + o


def gated(rng: Random, d: int, depth: int) -> Stage:
    o = width(rng)
    if rng.random() < 0.3:
        return nn.Sequential(nn.Linear(d, 2 * o), nn.GLU(-1)), o
    return Product(project(rng, d, o), project(rng, d, o), activation(rng)), o


def sliced(rng: Random, d: int, depth: int) -> Stage:
    cut = rng.randint(1, d - 1)
    (a, i), (b, j) = (
        dense(rng, cut, 0),
        (nn.Identity(), d - cut) if rng.random() < 0.3 else dense(rng, d - cut, 0),
    )
    return Split([cut, d - cut], [a, b], rng.choice(["split", "slice"])), i + j


def looped(rng: Random, d: int, depth: int) -> Stage:
    return Loop(nn.Sequential(nn.Linear(d, d), odd_or_homogeneous(rng)), rng.randint(2, 3)), d


def tied(rng: Random, d: int, depth: int) -> Stage:
    return Tied(d, width(rng), odd_or_homogeneous(rng)), d


def grouped(rng: Random, d: int, depth: int) -> Stage:
    groups, i, o = rng.choice([(2, 2, 3), (2, 3, 2), (3, 2, 2)])
    return nn.Sequential(
        nn.Linear(d, groups * i), odd_or_homogeneous(rng), GroupedLinear(groups, i, o)
    ), groups * o


def reduced(rng: Random, d: int, depth: int) -> Stage:
    """View as a table and reduce or transpose one of its axes."""
    a, b = rng.choice([(3, 2), (2, 3), (4, 2)])
    before = nn.Linear(d, a * b)
    match rng.choice(["max", "mean", "transpose", "softmax"]):
        case "max":
            return nn.Sequential(before, Fn("maxout", lambda x: x.unflatten(-1, (a, b)).amax(-1))), a
        case "mean":
            f = lambda x: x.unflatten(-1, (a, b)).relu().mean(-2)  # noqa: E731
            return nn.Sequential(before, Fn("mean of groups", f)), b
        case "transpose":
            f = lambda x: x.unflatten(-1, (a, b)).transpose(-1, -2).flatten(-2)  # noqa: E731
            return nn.Sequential(before, odd_or_homogeneous(rng), Fn("transposed", f)), a * b
        case _:
            f = lambda x: x.unflatten(-1, (a, b)).softmax(-1).flatten(-2)  # noqa: E731
            return nn.Sequential(before, Fn("softmax of groups", f)), a * b


def fixed(rng: Random, d: int, depth: int) -> Stage:
    return Fixed(rng.choice(["flip", "roll", "multiply", "add", "cumsum", "index"]), d), d


def scaled(rng: Random, d: int, depth: int) -> Stage:
    return ScaleShift(d), d


def bilinear(rng: Random, d: int, depth: int) -> Stage:
    o = width(rng)
    return Bilinear(d, o), o


def radial(rng: Random, d: int, depth: int) -> Stage:
    return Fn("radial", lambda x: x * torch.tanh(x.square().sum(-1, keepdim=True))), d


def dropped(rng: Random, d: int, depth: int) -> Stage:
    return nn.Dropout(0.3), d


VECTOR: list[Maker] = [dense] * 6 + [residual] * 3 + [linear_only, gated, concatenated] * 2
VECTOR += [
    normalized,
    active,
    sliced,
    looped,
    tied,
    grouped,
    reduced,
    fixed,
    scaled,
    bilinear,
    radial,
    dropped,
]


def chain(rng: Random, d: int, depth: int, makers: list[Maker], length: int) -> Stage:
    """Stages one after the other; at the bottom only dense ones."""
    stages = []
    for _ in range(length):
        stage, d = (rng.choice(makers) if depth > 0 else makers[0])(rng, d, depth)
        stages.append(stage)
    return nn.Sequential(*stages), d


# --- stages on images ---


def conv(rng: Random, c: int, depth: int) -> Stage:
    o = width(rng)
    kernel = rng.choice([1, 2, 3])
    options: dict[str, Any] = {"padding": kernel // 2, "bias": rng.random() < 0.7}
    if rng.random() < 0.2:
        options |= {"padding_mode": rng.choice(["reflect", "circular"])}
    return nn.Sequential(nn.Conv2d(c, o, kernel, **options), odd_or_homogeneous(rng)), o


def conv_norm(rng: Random, c: int, depth: int) -> Stage:
    o = 2 * rng.randint(2, 3)
    norm = rng.choice(
        [
            nn.BatchNorm2d(o),
            nn.BatchNorm2d(o, affine=False),
            nn.GroupNorm(2, o),
            nn.InstanceNorm2d(o),
            nn.InstanceNorm2d(o, affine=True),
        ]
    )
    return nn.Sequential(nn.Conv2d(c, o, 3, padding=1), norm, odd_or_homogeneous(rng)), o


def conv_grouped(rng: Random, c: int, depth: int) -> Stage:
    first = nn.Conv2d(c, 4, 1)
    second = nn.Conv2d(4, rng.choice([4, 6, 8]), 2, padding=1, groups=2)
    return nn.Sequential(first, odd_or_homogeneous(rng), second, odd_or_homogeneous(rng)), second.out_channels


def conv_depthwise(rng: Random, c: int, depth: int) -> Stage:
    o = width(rng)
    multiplier = rng.choice([1, 1, 2])
    depthwise = nn.Conv2d(c, multiplier * c, 3, padding=1, groups=c)
    middle = [odd_or_homogeneous(rng)] if rng.random() < 0.6 else []
    return nn.Sequential(depthwise, *middle, nn.Conv2d(multiplier * c, o, 1), odd_or_homogeneous(rng)), o


def conv_residual(rng: Random, c: int, depth: int) -> Stage:
    h = width(rng)
    body = nn.Sequential(
        nn.Conv2d(c, h, 3, padding=1), odd_or_homogeneous(rng), nn.Conv2d(h, c, 1), nn.BatchNorm2d(c)
    )
    if rng.random() < 0.4:
        return nn.Sequential(Residual(body, nn.Conv2d(c, c, 1)), odd_or_homogeneous(rng)), c
    return Residual(body), c


def conv_concatenated(rng: Random, c: int, depth: int) -> Stage:
    inner, o = conv_same(rng, c)
    return Concat(inner, 1), c + o


def conv_same(rng: Random, c: int) -> Stage:
    o = width(rng)
    return nn.Sequential(nn.Conv2d(c, o, 3, padding=1), odd_or_homogeneous(rng)), o


class UShape(nn.Module):
    """Down, through, up, and the skip beside it."""

    def __init__(self, down: nn.Module, through: nn.Module, mode: str) -> None:
        super().__init__()
        self.down, self.through, self.mode = down, through, mode

    def forward(self, x: Tensor) -> Tensor:
        deep = self.through(F.max_pool2d(self.down(x), 2))
        return torch.cat([F.interpolate(deep, size=x.shape[-2:], mode=self.mode), x], dim=1)


def conv_unet(rng: Random, c: int, depth: int) -> Stage:
    (down, h), mode = conv_same(rng, c), rng.choice(["nearest", "bilinear"])
    through, o = conv_same(rng, h)
    return UShape(down, through, mode), o + c


class SqueezeExcite(nn.Module):
    def __init__(self, c: int, h: int, f: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.excite, self.f = nn.Linear(c, h), nn.Linear(h, c), f

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(self.f(self.squeeze(x.mean((2, 3))))).sigmoid()[..., None, None]


def conv_squeeze(rng: Random, c: int, depth: int) -> Stage:
    return SqueezeExcite(c, 3, odd_or_homogeneous(rng)), c


def conv_pool(rng: Random, c: int, depth: int) -> Stage:
    return rng.choice([nn.MaxPool2d, nn.AvgPool2d])(2, stride=1, padding=1), c


def conv_pad(rng: Random, c: int, depth: int) -> Stage:
    return rng.choice([nn.ZeroPad2d(1), nn.ReplicationPad2d(1), nn.ConstantPad2d(1, 0.5)]), c


def conv_shuffle(rng: Random, c: int, depth: int) -> Stage:
    if rng.random() < 0.5:
        return nn.Sequential(nn.Conv2d(c, 12, 1), nn.PixelShuffle(2), nn.AvgPool2d(2)), 3
    shuffle = Fn("channel shuffle", lambda x: x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2))
    return nn.Sequential(nn.Conv2d(c, 6, 1), odd_or_homogeneous(rng), shuffle), 6


def conv_transposed(rng: Random, c: int, depth: int) -> Stage:
    groups = 2 if c % 2 == 0 and rng.random() < 0.5 else 1
    o = 2 * rng.randint(2, 3)
    return nn.Sequential(nn.ConvTranspose2d(c, o, 2, groups=groups), odd_or_homogeneous(rng)), o


IMAGE: list[Maker] = [conv] * 4 + [conv_norm, conv_residual] * 2
IMAGE += [conv_grouped, conv_depthwise, conv_concatenated, conv_unet, conv_squeeze, conv_pool, conv_pad]
IMAGE += [conv_shuffle, conv_transposed]


# --- stages on sequences ---


def rotate(x: Tensor, interleaved: bool) -> Tensor:
    """Rotary embedding of n, h, t, c."""
    t, c = x.shape[-2:]
    frequency = 3.0 ** (-torch.arange(0, c, 2, dtype=x.dtype) / c)
    angle = torch.arange(t, dtype=x.dtype)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    parts = a * cos - b * sin, a * sin + b * cos
    return torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)


class Attention(nn.Module):
    """Self-attention with drawn options."""

    def __init__(self, rng: Random, d: int) -> None:
        super().__init__()
        self.kv = rng.choice([1, 2])
        self.h, self.c = self.kv * rng.choice([1, 1, 2]), rng.choice([2, 4])
        bias = rng.random() < 0.6
        self.layout = rng.choice(["separate", "separate", "3hc", "h3c", "chunk"])
        if self.h != self.kv:
            self.layout = "separate"
        if self.layout == "separate":
            self.q = nn.Linear(d, self.h * self.c, bias=bias)
            self.k, self.v = (nn.Linear(d, self.kv * self.c, bias=bias) for _ in range(2))
        else:
            self.qkv = nn.Linear(d, 3 * self.h * self.c, bias=bias)
        self.o = nn.Linear(self.h * self.c, d, bias=bias)
        self.rope = rng.choice([None, None, "half", "interleaved"])
        self.norm = rng.choice([None, None, None, "rms"])
        if self.norm:
            self.q_norm, self.k_norm = RMSNorm(self.c), RMSNorm(self.c)
        self.sdpa, self.causal = rng.random() < 0.4, rng.random() < 0.5

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, _ = x.shape
        match self.layout:
            case "separate":
                return tuple(f(x).view(n, t, -1, self.c).transpose(1, 2) for f in (self.q, self.k, self.v))
            case "3hc":
                return self.qkv(x).reshape(n, t, 3, self.h, self.c).permute(2, 0, 3, 1, 4).unbind(0)
            case "h3c":
                return self.qkv(x).view(n, t, self.h, 3, self.c).permute(3, 0, 2, 1, 4).unbind(0)
            case _:
                pieces = self.qkv(x).chunk(3, -1)
                return tuple(p.view(n, t, self.h, self.c).transpose(1, 2) for p in pieces)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x)
        if self.norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope:
            q, k = rotate(q, self.rope == "interleaved"), rotate(k, self.rope == "interleaved")
        if self.h > self.kv:
            k, v = (z.repeat_interleave(self.h // self.kv, 1) for z in (k, v))
        if self.sdpa:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.mT * self.c**-0.5
            if self.causal:
                mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
                scores = scores.masked_fill(~mask, float("-inf"))
            y = scores.softmax(-1) @ v
        return self.o(y.transpose(1, 2).flatten(2))


def feed_forward(rng: Random, d: int) -> nn.Module:
    h = width(rng)
    if rng.random() < 0.4:
        gate = rng.choice([nn.SiLU, nn.GELU, nn.ReLU, nn.Sigmoid])()
        up, side = nn.Linear(d, h, bias=False), nn.Linear(d, h, bias=False)
        return nn.Sequential(Product(up, side, gate), nn.Linear(h, d, bias=rng.random() < 0.3))
    return nn.Sequential(nn.Linear(d, h), odd_or_homogeneous(rng), nn.Linear(h, d))


def transformer_block(rng: Random, d: int, depth: int) -> Stage:
    norm: Callable[[], nn.Module] = rng.choice(
        [lambda: nn.LayerNorm(d), lambda: RMSNorm(d), lambda: nn.RMSNorm(d, eps=1e-5), nn.Identity]
    )
    attend, feed = Attention(rng, d), feed_forward(rng, d)
    if rng.random() < 0.7:
        return nn.Sequential(
            Residual(nn.Sequential(norm(), attend)), Residual(nn.Sequential(norm(), feed))
        ), d
    return nn.Sequential(Residual(attend), norm(), Residual(feed), norm()), d


def torch_block(rng: Random, d: int, depth: int) -> Stage:
    heads = rng.choice([h for h in (1, 2, 3) if d % h == 0])
    layer = nn.TransformerEncoderLayer(
        d,
        heads,
        width(rng),
        batch_first=True,
        norm_first=rng.random() < 0.5,
        activation=rng.choice(["relu", "gelu"]),
    )
    return layer, d


class TokenMixing(nn.Module):
    def __init__(self, t: int, h: int, f: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.f = nn.Linear(t, h), nn.Linear(h, t), f

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.f(self.a(x.mT))).mT


def token_mixing(rng: Random, d: int, depth: int) -> Stage:
    return TokenMixing(LENGTH, width(rng), odd_or_homogeneous(rng)), d


class Convolved(nn.Module):
    """A convolution along the sequence."""

    def __init__(self, i: int, o: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(i, o, 3, padding=1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.mT).mT


def along_sequence(rng: Random, d: int, depth: int) -> Stage:
    o = d if rng.random() < 0.5 else width(rng)
    groups = d if o == d and rng.random() < 0.5 else 1
    return nn.Sequential(Convolved(d, o, groups), odd_or_homogeneous(rng)), o


class Recurrent(nn.Module):
    """The outputs of a recurrent module."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]


def recurrent(rng: Random, d: int, depth: int) -> Stage:
    h, both = rng.randint(3, 5), rng.random() < 0.3
    options: dict[str, Any] = {"batch_first": True, "bidirectional": both, "bias": rng.random() < 0.8}
    make = rng.choice([nn.RNN, nn.GRU, nn.LSTM])
    if make is nn.RNN:
        options["nonlinearity"] = rng.choice(["tanh", "relu"])
    return Recurrent(make(d, h, rng.choice([1, 1, 2]), **options)), h * (1 + both)


def over_vectors(rng: Random, d: int, depth: int) -> Stage:
    return rng.choice([dense, gated, residual, normalized])(rng, d, depth)


LENGTH = 4
SEQUENCE: list[Maker] = (
    [transformer_block] * 5 + [over_vectors] * 2 + [torch_block, token_mixing, along_sequence]
)
RECURRENT: list[Maker] = [recurrent] * 3 + [over_vectors, along_sequence]


# --- whole networks ---


def vector_model(rng: Random) -> tuple[nn.Module, Tensor]:
    i = rng.randint(3, 6)
    body, d = chain(rng, i, 2, VECTOR, rng.randint(2, 4))
    layers: list[nn.Module] = [body, nn.Linear(d, width(rng))]
    if rng.random() < 0.3:  # a norm over the batch axis of plain vectors
        layers[0:0] = [nn.Linear(i, i), rng.choice([nn.BatchNorm1d(i), nn.LayerNorm(i)])]
    if rng.random() < 0.2:
        layers.append(rng.choice([nn.Softmax, nn.LogSoftmax])(-1))
    return nn.Sequential(*layers), torch.randn(3, i)


def image_model(rng: Random) -> tuple[nn.Module, Tensor]:
    c = rng.randint(1, 3)
    stem = nn.Conv2d(c, width(rng), 3, padding=1)
    body, d = chain(rng, stem.out_channels, 1, IMAGE, rng.randint(1, 3))
    if rng.random() < 0.5:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, width(rng))]
    elif rng.random() < 0.5:
        head = [nn.AdaptiveMaxPool2d((2, 1)), nn.Flatten(), nn.Linear(2 * d, width(rng))]
    else:
        head = [nn.Conv2d(d, 2, 1)]
    return nn.Sequential(stem, odd_or_homogeneous(rng), body, *head), torch.randn(2, c, 4, 5)


class Embedding(nn.Module):
    """Tokens, perhaps positions."""

    def __init__(self, vocabulary: int, d: int, positions: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d)
        self.positions = nn.Parameter(torch.randn(LENGTH, d)) if positions else None

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        return x if self.positions is None else x + self.positions


class TiedHead(nn.Module):
    def __init__(self, tokens: nn.Embedding) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.tokens.weight)


def sequence_model(rng: Random, makers: list[Maker]) -> tuple[nn.Module, Tensor]:
    d, vocabulary = rng.choice([4, 6]), rng.randint(5, 9)
    discrete = rng.random() < 0.5
    if discrete:
        first: nn.Module = Embedding(vocabulary, d, rng.random() < 0.5)
        inputs = torch.randint(vocabulary, (2, LENGTH))
    else:
        first, inputs = nn.Linear(3, d), torch.randn(2, LENGTH, 3)
    body, o = chain(rng, d, 1, makers, rng.randint(1, 2))
    last = [vector_norm(rng, o, batch=False)] if rng.random() < 0.5 else []
    if isinstance(first, Embedding) and o == d and rng.random() < 0.4:
        return nn.Sequential(first, body, *last, TiedHead(first.tokens)), inputs
    pool = [Fn("mean over tokens", lambda x: x.mean(1))] if rng.random() < 0.4 else []
    return nn.Sequential(first, body, *last, *pool, nn.Linear(o, vocabulary)), inputs


FAMILIES: dict[str, Callable[[Random], tuple[nn.Module, Tensor]]] = {
    "vector": vector_model,
    "image": image_model,
    "sequence": lambda rng: sequence_model(rng, SEQUENCE),
    "recurrent": lambda rng: sequence_model(rng, RECURRENT),
}


def random_model(seed: int, family: str | None = None) -> tuple[nn.Module, Tensor]:
    """A network at a generic point of its parameters, in eval mode and float32, and inputs; the same every time."""
    rng = Random(seed)
    family = family or rng.choices(list(FAMILIES), weights=[5, 3, 4, 1])[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, inputs = FAMILIES[family](rng)
        generic_(model)
    return model.eval(), inputs
