"""Normalization: batch, layer, group, instance, root mean square; what moves through, into and out of each."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import (
    Built,
    Lambda,
    entry,
    leaky,
    linear,
    orthogonal,
    permutation,
    scaling,
    sign,
    translation,
)

IN, OUT = ("0.weight", "0.bias"), ("2.weight",)


# --- batch norm ---


def batchnorm(activation: nn.Module, *, affine: bool = True, bias: bool = True) -> Built:
    layers = [nn.Linear(3, 5, bias=bias), nn.BatchNorm1d(5, affine=affine), activation, nn.Linear(5, 4)]
    return nn.Sequential(*layers), torch.randn(7, 3)


@entry(
    {
        "R+ of each ReLU unit: BN weight and bias, outgoing column": 5,
        "row of the first layer against the BN weight (buffers fixed)": 5,
        "first bias against BN bias": 5,
    },
    [
        scaling(5, "1.weight", "1.bias", "3.weight"),
        permutation(5, "0.weight", "0.bias", "1.weight", "1.bias", "3.weight"),
        scaling(5, "0.weight", "1.weight"),
    ],
)
def batchnorm_eval_relu() -> Built:
    return batchnorm(nn.ReLU())


@entry(
    {
        "R+ of each ReLU unit": 5,
        "a bias before the batch mean does nothing": 5,
    },
    [
        scaling(5, "1.weight", "1.bias", "3.weight"),
        permutation(5, "0.weight", "0.bias", "1.weight", "1.bias", "3.weight"),
        translation("0.bias"),
        sign(5, "0.weight", "1.weight"),
    ],
    approximate={"R+ of each row into the batch norm": 5},
    train=True,
)
def batchnorm_train_relu() -> Built:
    return batchnorm(nn.ReLU())


@entry(
    {"row against BN weight": 5, "first bias against BN bias": 5},
    [permutation(5, "0.weight", "0.bias", "1.weight", "1.bias", "3.weight")],
)
def batchnorm_eval_gelu() -> Built:
    return batchnorm(nn.GELU())


@entry(
    {"a bias before the batch mean does nothing": 5},
    [translation("0.bias"), permutation(5, "0.weight", "0.bias", "3.weight")],
    approximate={"R+ of each row into the batch norm": 5},
    train=True,
)
def batchnorm_train_not_affine() -> Built:
    return batchnorm(nn.GELU(), affine=False)


@entry(
    {"R+ of each unit: row and (bias - mean) by s, outgoing by 1/s; the bias follows the fixed mean": 5},
    [permutation(5, "0.weight", "0.bias", "3.weight")],
    moving={"0.bias with the running mean": 5},
    approximate={"R+ of each row with the running variance": 5},
)
def batchnorm_eval_not_affine() -> Built:
    return batchnorm(nn.LeakyReLU(0.3), affine=False)


@entry(
    {
        "R+ of each ReLU channel": 4,
        "kernel against BN weight (buffers fixed)": 4,
    },
    [
        scaling(4, "1.weight", "1.bias", "3.weight"),
        scaling(4, "0.weight", "1.weight"),
        permutation(4, "0.weight", "1.weight", "1.bias", "3.weight"),
    ],
)
def batchnorm2d_eval() -> Built:
    layers = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2)]
    return nn.Sequential(*layers), torch.randn(3, 2, 5, 5)


@entry(
    {
        "BN in eval mode is linear: GL(3) does not pass its diagonal, R+ on both sides does": 3 + 3,
        "0.bias, 1.bias, 2.bias": 3 + 3,
    },
    [scaling(3, "0.weight", "1.weight"), scaling(3, "1.weight", "2.weight"), translation("1.bias", "2.bias")],
    beyond={"the other 6 of GL(3): W1 -> g W1 through the diagonal matrix of the BN": 6},
)
def batchnorm_eval_linear_path() -> Built:
    return nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 4)), torch.randn(7, 5)


# --- layer norm ---

SHIFT = [translation("0.weight"), translation("0.bias")]


@entry(
    {
        "uniform shift into the norm: W1 += 1 v^T": 6,
        "and by the bias": 1,
        "norm weight against the columns that read it": 4,
        "norm bias into the next bias": 4,
        "what the norm annihilates: W2 += v (1/w)^T": 5,
        "O of the hyperplane orthogonal to ones: 3 * 2 / 2": 3,
    },
    [
        *SHIFT,
        scaling(4, "1.weight", "1.bias", "2.weight"),
        translation("1.bias", "2.bias"),
        translation("2.weight", "2.bias"),
        orthogonal(4, "0.weight", "0.bias", "2.weight"),
    ],
    approximate={"R+ of the whole layer into the norm": 1},
)
def layernorm_linear() -> Built:
    return nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 5)), torch.randn(2, 6)


@entry(
    {
        "uniform shift into the norm, weight and bias": 6 + 1,
        "annihilated direction: W2 += v 1^T": 5,
        "O fixing the ones": 3,
    },
    [*SHIFT, translation("2.weight"), orthogonal(4, "0.weight", "0.bias", "2.weight")],
    approximate={"R+ into the norm": 1},
)
def layernorm_not_affine() -> Built:
    layers = [nn.Linear(6, 4), nn.LayerNorm(4, elementwise_affine=False), nn.Linear(4, 5)]
    return nn.Sequential(*layers), torch.randn(2, 6)


@entry(
    {"uniform shift into the norm, weight and bias": 3 + 1, "R+ of each ReLU unit": 5},
    [
        *SHIFT,
        scaling(5, "1.weight", "1.bias", "3.weight"),
        permutation(5, *IN, "1.weight", "1.bias", "3.weight"),
    ],
    approximate={"R+ into the norm": 1},
)
def layernorm_relu() -> Built:
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4)), torch.randn(2, 3)


@entry(
    {"uniform shift into the norm, weight and bias": 3 + 1},
    [*SHIFT, permutation(5, *IN, "1.weight", "1.bias", "3.weight")],
    approximate={"R+ into the norm": 1},
)
def layernorm_gelu() -> Built:
    return nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 4)), torch.randn(2, 3)


@entry(
    {"uniform shift into the norm, weight and bias": 3 + 1, "R+ of each ReLU unit": 5},
    [
        translation("inp.weight"),
        translation("inp.bias"),
        scaling(5, "norm.weight", "norm.bias", "out.weight"),
        permutation(5, "inp.weight", "norm.weight"),
    ],
    approximate={"R+ into the norm": 1},
)
def layernorm_handwritten() -> Built:
    class Norm(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))

        def forward(self, x: Tensor) -> Tensor:
            x = x - x.mean(-1, keepdim=True)
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.norm, self.out = nn.Linear(3, 5), Norm(5), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.norm(self.inp(x)).relu())

    return Net(), torch.randn(2, 3)


@entry(
    {"a bias common to all channels": 1, "R+ of each ReLU channel and position": 0},
    [translation("0.bias"), permutation(4, *IN, "1.weight", "1.bias", "3.weight")],
    approximate={"R+ into the norm": 1},
)
def layernorm_over_image() -> Built:
    """LayerNorm over (C, H, W) of a convolution, its weight has a spatial shape too."""
    layers = [nn.Conv2d(2, 4, 2), nn.LayerNorm((4, 3, 3)), nn.GELU(), nn.Conv2d(4, 3, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 4, 4)


# --- group and instance norm ---


@entry(
    {"a bias common to the channels of each group": 2, "R+ of each ReLU channel": 6},
    [
        translation("0.bias"),
        scaling(None, "1.weight", "1.bias", "3.weight", batch=None),
        permutation(3, *IN, "1.weight", "1.bias", "3.weight", batch=(2,)),
        permutation(2, *IN, "1.weight", "1.bias", "3.weight"),
    ],
    approximate={"R+ of each group into the norm": 2},
)
def groupnorm() -> Built:
    layers = [nn.Conv2d(2, 6, 2), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 3, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 4, 4)


@entry(
    {"uniform shift of each group, weight and bias": 2 * (4 + 1), "R+ of each ReLU unit": 6},
    [
        translation("0.weight"),
        translation("0.bias"),
        scaling(None, "1.weight", "1.bias", "3.weight", batch=None),
    ],
    approximate={"R+ of each group into the norm": 2},
)
def groupnorm_vectors() -> Built:
    """Without spatial axes the group norm is a layer norm per group."""
    return nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.ReLU(), nn.Linear(6, 5)), torch.randn(2, 4)


@entry(
    {"each bias: the spatial mean removes it": 4},
    [translation("0.bias"), permutation(4, *IN, "3.weight")],
    approximate={"R+ of each channel into the norm": 4},
)
def instancenorm() -> Built:
    layers = [nn.Conv2d(2, 4, 2), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"each bias": 4, "R+ of each ReLU channel": 4},
    [
        translation("0.bias"),
        scaling(4, "1.weight", "1.bias", "3.weight"),
        permutation(4, *IN, "1.weight", "3.weight"),
        sign(4, "0.weight", "1.weight"),
    ],
    approximate={"R+ of each channel into the norm": 4},
)
def instancenorm_affine() -> Built:
    layers = [nn.Conv1d(2, 4, 2), nn.InstanceNorm1d(4, affine=True), nn.ReLU(), nn.Conv1d(4, 3, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 7)


# --- root mean square ---


class RMSNorm(nn.Module):
    """Hand-written, as in the Llama code."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class RMSNormCast(RMSNorm):
    """The same, computed in float32 whatever comes in (the verification must look through the casts)."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.to(torch.float32)
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * h.to(x.dtype)


class RMSNormFunctional(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


RMS_TERMS = {
    "O through the norm and its weight: 4 * 3 / 2": 6,
    "norm weight against the columns that read it": 4,
}
RMS = [orthogonal(4, *IN, "2.weight"), scaling(4, "1.weight", "2.weight")]
RMS_NORMS = {
    "module": lambda: nn.RMSNorm(4, eps=1e-5),
    "functional": lambda: RMSNormFunctional(4),
    "handwritten": lambda: RMSNorm(4),
    "cast": lambda: RMSNormCast(4),
}
for _name, _make in RMS_NORMS.items():
    entry(
        RMS_TERMS,
        RMS,
        approximate={"R+ of the whole layer into the norm": 1},
        name=f"rmsnorm_{_name}",
    )(lambda make=_make: (nn.Sequential(nn.Linear(6, 4), make(), nn.Linear(4, 5)), torch.randn(2, 6)))
for _name, _make in {
    "without_eps": lambda: RMSNorm(4, eps=0.0),
    "default_eps": lambda: nn.RMSNorm(4),
}.items():
    entry(
        {**RMS_TERMS, "R+ of the whole layer: eps is 0, or by default the rounding unit of the dtype": 1},
        [*RMS, scaling(1, *IN)],
        name=f"rmsnorm_{_name}",
    )(lambda make=_make: (nn.Sequential(nn.Linear(6, 4), make(), nn.Linear(4, 5)), torch.randn(2, 6)))


@entry(
    {"O of the layer, no weight in the way": 6},
    [orthogonal(4, *IN, "2.weight")],
    approximate={"R+ into the norm": 1},
)
def rmsnorm_no_weight() -> Built:
    norm = nn.RMSNorm(4, eps=1e-5, elementwise_affine=False)
    return nn.Sequential(nn.Linear(6, 4), norm, nn.Linear(4, 5)), torch.randn(2, 6)


@entry(
    {"R+ of each ReLU unit through the norm weight": 4},
    [scaling(4, "1.weight", "3.weight"), permutation(4, *IN, "1.weight", "3.weight"), sign(4, *IN)],
    not_group=[("Orthogonal", "0.weight")],
    approximate={"R+ into the norm": 1},
)
def rmsnorm_relu() -> Built:
    """An activation after the norm leaves only what acts unit by unit."""
    norm = nn.RMSNorm(4, eps=1e-5)
    return nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 5)), torch.randn(2, 3)


@entry(
    {"O of the layer; F.normalize": 6, "its length (the clamp at 1e-12 is never reached)": 1},
    [orthogonal(4, *IN, "2.weight"), scaling(1, *IN)],
)
def l2_normalize() -> Built:
    layers = [nn.Linear(6, 4), Lambda(lambda z: F.normalize(z, dim=-1)), nn.Linear(4, 5)]
    return nn.Sequential(*layers), torch.randn(2, 6)


class NormStream(nn.Module):
    """inp, x + down(act(up(norm(x)))), norm, out."""

    def __init__(self, norm, *, i: int = 6, d: int = 4, f: int = 5, o: int = 6) -> None:  # noqa: ANN001
        super().__init__()
        self.inp, self.norm1, self.up = nn.Linear(i, d), norm(d), nn.Linear(d, f)
        self.down, self.norm2, self.out = nn.Linear(f, d), norm(d), nn.Linear(d, o)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        x = x + self.down(leaky(self.up(self.norm1(x))))
        return self.out(self.norm2(x))


@entry(
    {
        "O of the stream through both norms": 6,
        "norm weights against their readers": 4 + 4,
        "R+ of the hidden units": 5,
    },
    [
        orthogonal(4, "inp.weight", "inp.bias", "up.weight", "down.weight", "down.bias", "out.weight"),
        scaling(4, "norm1.weight", "up.weight"),
        scaling(4, "norm2.weight", "out.weight"),
        scaling(5, "up.weight", "up.bias", "down.weight"),
    ],
    approximate={"R+ of the whole stream": 1},
)
def rmsnorm_stream() -> Built:
    return NormStream(lambda d: nn.RMSNorm(d, eps=1e-5)), torch.randn(2, 6)


@entry(
    {
        "uniform shift of the stream by each writer: inp": 6 + 1,
        "by down": 5 + 1,
        "O of the hyperplane: 3 * 2 / 2": 3,
        "norm weights against their readers": 4 + 4,
        "norm biases into their readers' biases": 4 + 4,
        "annihilated direction of up and of out": 5 + 6,
        "R+ of the hidden units": 5,
    },
    [
        translation("inp.weight"),
        translation("down.weight"),
        translation("norm1.bias", "up.bias"),
        translation("up.weight", "up.bias"),
        orthogonal(4, "inp.weight", "inp.bias", "up.weight", "down.weight", "down.bias", "out.weight"),
        scaling(4, "norm1.weight", "norm1.bias", "up.weight"),
        scaling(5, "up.weight", "up.bias", "down.weight"),
    ],
    approximate={"R+ of the whole stream": 1},
)
def layernorm_stream() -> Built:
    return NormStream(nn.LayerNorm), torch.randn(2, 6)


@entry(
    {
        "norm2's readers only": 4 + 4 + 6,
        "shift into norm2 by down": 5 + 1,
        "norm1 output: bias translation, its weight is in the stream": 4,
        "annihilated direction of up": 5,
        "shift into norm1 by inp": 6 + 1,
        "R+ of the hidden units": 5,
    },
    [
        translation("inp.weight"),
        translation("down.weight"),
        translation("norm2.bias", "out.bias"),
        scaling(5, "up.weight", "up.bias", "down.weight"),
        permutation(
            4, "inp.weight", "norm1.weight", "up.weight", "down.weight", "norm2.weight", "out.weight"
        ),
    ],
    beyond={"one rotation of both hyperplanes that the diagonal weight of norm1 can follow": 1},
    approximate={"R+ into norm1": 1, "R+ of the stream into norm2": 1},
)
def layernorm_post_stream() -> Built:
    """Post-norm: norm2(h + f(h)), h = norm1(x)."""

    class Net(NormStream):
        def forward(self, x: Tensor) -> Tensor:
            x = self.norm1(self.inp(x))
            return self.out(self.norm2(x + self.down(leaky(self.up(x)))))

    return Net(nn.LayerNorm), torch.randn(2, 6)


@entry(
    {
        "GL before the norm's own linear map": 9,
        "its translation": 3,
        "shift into the norm": 3 + 1,
        "R+ of ReLU": 5,
    },
    [linear(3, "0.weight", "0.bias", "1.weight"), translation("0.bias", "1.bias"), translation("1.weight")],
    approximate={"R+ into the norm": 1},
)
def linear_path_into_layernorm() -> Built:
    layers = [nn.Linear(4, 3), nn.Linear(3, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4)]
    return nn.Sequential(*layers), torch.randn(2, 4)
