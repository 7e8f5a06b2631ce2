"""Convolutional networks: groups, depthwise, transposed, pooling, padding, upsampling, skips, concatenations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import Built, Lambda, entry, leaky, linear, permutation, scaling, sign, translation

HIDDEN = ("0.weight", "0.bias", "2.weight")


def pair(*middle: nn.Module, last: nn.Module, dims: int = 2, first: nn.Module | None = None) -> Built:
    """A convolution 2 -> 4, what lies between, a last layer."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    model = nn.Sequential(first or conv(2, 4, 3, padding=1), *middle, last)
    return model, torch.randn(2, 2, *{1: (6,), 2: (5, 6), 3: (4, 3, 5)}[dims])


UNITS = {"R+ of each channel": 4}
for _d, _conv in ((1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)):
    entry(UNITS, [scaling(4, *HIDDEN), permutation(4, *HIDDEN)], name=f"conv{_d}d")(
        lambda d=_d, conv=_conv: pair(nn.ReLU(), last=conv(4, 3, 2 if d == 3 else 3), dims=d)
    )
for _d, _conv in ((1, nn.ConvTranspose1d), (2, nn.ConvTranspose2d), (3, nn.ConvTranspose3d)):
    entry(UNITS, [scaling(4, *HIDDEN), permutation(4, *HIDDEN)], name=f"conv_transpose{_d}d")(
        lambda d=_d, conv=_conv: (
            nn.Sequential(conv(2, 4, 2, stride=2), nn.LeakyReLU(0.3), conv(4, 3, 2)),
            torch.randn(2, 2, *(3, 2, 1)[:d]),
        )
    )

MIDDLE: dict[str, list] = {
    "tanh": [nn.Tanh()],
    "stride_dilation": [nn.ReLU()],
    "max_pool": [nn.ReLU(), nn.MaxPool2d(2)],
    "avg_pool": [nn.ReLU(), nn.AvgPool2d(2, padding=1)],
    "adaptive_avg_pool": [nn.ReLU(), nn.AdaptiveAvgPool2d((3, 4))],
    "adaptive_max_pool": [nn.ReLU(), nn.AdaptiveMaxPool2d((3, 4))],
    "lp_pool": [nn.ReLU(), nn.LPPool2d(2, 2)],
    "zero_pad": [nn.ReLU(), nn.ZeroPad2d(1)],
    "reflect_pad": [nn.ReLU(), nn.ReflectionPad2d(1)],
    "replicate_pad": [nn.ReLU(), nn.ReplicationPad2d(1)],
    "circular_pad": [nn.ReLU(), nn.CircularPad2d(1)],
    "upsample_nearest": [nn.ReLU(), nn.Upsample(scale_factor=2)],
    "upsample_bilinear": [nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)],
    "upsample_bicubic": [nn.ReLU(), nn.Upsample(size=(7, 7), mode="bicubic")],
    "dropout2d_eval": [nn.ReLU(), nn.Dropout2d(0.5)],
}
for _name, _middle in MIDDLE.items():
    _slots = ("0.weight", "0.bias", f"{1 + len(_middle)}.weight")
    _groups = [permutation(4, *_slots), sign(4, *_slots) if _name == "tanh" else scaling(4, *_slots)]
    entry({} if _name == "tanh" else UNITS, _groups, name=f"conv_{_name}")(
        lambda middle=tuple(_middle), name=_name: pair(
            *middle,
            first=nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2) if "stride" in name else None,
            last=nn.Conv2d(4, 3, 2),
        )
    )


@entry(UNITS, [scaling(4, *HIDDEN), permutation(4, *HIDDEN)])
def conv_padding_modes() -> Built:
    first = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")
    return pair(nn.ReLU(), first=first, last=nn.Conv2d(4, 3, 3, padding="same", padding_mode="circular"))


@entry(
    UNITS, [scaling(4, "0.weight", "0.bias", "4.weight"), permutation(4, "0.weight", "0.bias", "4.weight")]
)
def conv_flatten_linear() -> Built:
    return pair(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), last=nn.Linear(4 * 6, 3))


@entry(
    UNITS, [scaling(4, "0.weight", "0.bias", "4.weight"), permutation(4, "0.weight", "0.bias", "4.weight")]
)
def conv_global_pool_linear() -> Built:
    return pair(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last=nn.Linear(4, 3))


@entry(
    {"GL: pooling is linear and acts on no channel": 9, "translation": 3},
    [linear(3, "0.weight", "0.bias", "3.weight"), translation("0.bias", "3.bias")],
)
def conv_pool_linear_path() -> Built:
    layers = [nn.Conv2d(2, 3, 3), nn.AvgPool2d((3, 4)), nn.Flatten(), nn.Linear(3, 4)]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 6)


@entry(
    {"GL between two convolutions": 9, "translation: no padding in the second": 3},
    [linear(3, "0.weight", "0.bias", "1.weight"), translation("0.bias", "1.bias")],
)
def conv_conv_linear_path() -> Built:
    return nn.Sequential(nn.Conv1d(4, 3, 2), nn.Conv1d(3, 4, 2)), torch.randn(2, 4, 6)


@entry(
    {"GL between two convolutions; zero padding breaks the translation": 9},
    [linear(3, "0.weight", "0.bias", "1.weight")],
    not_group=[("Translation", "0.bias")],
)
def conv_conv_zero_padding() -> Built:
    return nn.Sequential(nn.Conv1d(4, 3, 2), nn.Conv1d(3, 4, 3, padding=1)), torch.randn(2, 4, 6)


@entry(
    {"GL between two convolutions; circular padding keeps constants": 9, "translation": 3},
    [linear(3, "0.weight", "0.bias", "1.weight"), translation("0.bias", "1.bias")],
)
def conv_conv_circular_padding() -> Built:
    last = nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")
    return nn.Sequential(nn.Conv1d(4, 3, 2), last), torch.randn(2, 4, 6)


# --- groups ---


@entry(
    {"R+ of each channel of both hidden layers": 4 + 6},
    [
        scaling(None, "0.weight", "0.bias", "2.weight", batch=None),
        scaling(None, "2.weight", "2.bias", "4.weight", batch=None),
        permutation(2, "0.weight", "0.bias", "2.weight", batch=(2,)),
        permutation(3, "2.weight", "2.bias", "4.weight", batch=(2,)),
        permutation(2, "0.weight", "2.weight", "2.bias", "4.weight"),
    ],
)
def conv_grouped() -> Built:
    """4 -> 6 channels in 2 groups: units within a group, and the groups themselves, may be exchanged."""
    layers = [
        nn.Conv2d(2, 4, 2),
        nn.LeakyReLU(0.3),
        nn.Conv2d(4, 6, 2, groups=2),
        nn.LeakyReLU(0.3),
        nn.Conv2d(6, 3, 2),
    ]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel of both hidden layers": 4 + 6},
    [
        scaling(None, "0.weight", "0.bias", "2.weight", batch=None),
        scaling(None, "2.weight", "2.bias", "4.weight", batch=None),
        permutation(2, "0.weight", "0.bias", "2.weight", batch=(2,)),
        permutation(3, "2.weight", "2.bias", "4.weight", batch=(2,)),
    ],
)
def conv_transpose_grouped() -> Built:
    layers = [
        nn.Conv2d(2, 4, 2),
        nn.LeakyReLU(0.3),
        nn.ConvTranspose2d(4, 6, 2, groups=2),
        nn.LeakyReLU(0.3),
        nn.Conv2d(6, 3, 2),
    ]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel before and after the depthwise convolution": 4 + 4},
    [
        scaling(4, "0.weight", "0.bias", "2.weight"),
        scaling(4, "2.weight", "2.bias", "4.weight"),
        permutation(4, "0.weight", "0.bias", "2.weight", "2.bias", "4.weight"),
    ],
)
def conv_depthwise() -> Built:
    layers = [
        nn.Conv2d(2, 4, 1),
        nn.LeakyReLU(0.3),
        nn.Conv2d(4, 4, 2, groups=4),
        nn.LeakyReLU(0.3),
        nn.Conv2d(4, 3, 1),
    ]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ before": 3, "R+ after, two outputs per channel": 6},
    [
        scaling(3, "0.weight", "0.bias", "2.weight"),
        scaling(None, "2.weight", "2.bias", "4.weight", batch=None),
        permutation(3, "0.weight", "0.bias", "2.weight", "2.bias", "4.weight"),
        permutation(2, "2.weight", "2.bias", "4.weight", batch=(3,)),
    ],
    seed=1,
)
def conv_depthwise_multiplier() -> Built:
    layers = [
        nn.Conv1d(2, 3, 1),
        nn.LeakyReLU(0.3),
        nn.Conv1d(3, 6, 2, groups=3),
        nn.LeakyReLU(0.3),
        nn.Conv1d(6, 3, 1),
    ]
    return nn.Sequential(*layers), torch.randn(2, 2, 6)


@entry(
    {
        "R+ of each channel before": 4,
        "R+ between depthwise and pointwise": 4,
        "translation: depthwise bias into pointwise bias": 4,
    },
    [
        scaling(4, "0.weight", "0.bias", "2.weight"),
        scaling(4, "2.weight", "2.bias", "3.weight"),
        sign(4, "2.weight", "2.bias", "3.weight"),
        permutation(4, "0.weight", "2.weight", "3.weight"),
        translation("2.bias", "3.bias"),
    ],
)
def conv_separable() -> Built:
    layers = [nn.Conv2d(2, 4, 1), nn.LeakyReLU(0.3), nn.Conv2d(4, 4, 2, groups=4), nn.Conv2d(4, 5, 1)]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


# --- skips and concatenations ---


class BasicBlock(nn.Module):
    def __init__(self, i: int, o: int, *, bn: bool, stride: int = 1, f=F.relu) -> None:  # noqa: ANN001
        super().__init__()
        norm = nn.BatchNorm2d if bn else lambda _: nn.Identity()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=not bn)
        self.bn1 = norm(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=not bn)
        self.bn2 = norm(o)
        self.shortcut, self.f = nn.Identity(), f
        if i != o or stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=not bn), norm(o))

    def forward(self, x: Tensor) -> Tensor:
        h = self.f(self.bn1(self.conv1(x)))
        return self.f(self.bn2(self.conv2(h)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, *, bn: bool, f=F.relu) -> None:  # noqa: ANN001
        super().__init__()
        self.f = f
        self.stem = nn.Conv2d(2, 3, 3, 1, 1, bias=not bn)
        self.bn = nn.BatchNorm2d(3) if bn else nn.Identity()
        self.block1 = BasicBlock(3, 3, bn=bn, f=f)
        self.block2 = BasicBlock(3, 4, bn=bn, stride=2, f=f)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.f(self.bn(self.stem(x)))
        x = self.block2(self.block1(x))
        return self.head(x.mean((2, 3)))


RESNET_STREAM1 = ("stem.weight", "block1.conv1.weight", "block1.conv2.weight", "block2.conv1.weight")
RESNET_STREAM2 = ("block2.conv2.weight", "block2.shortcut.0.weight", "head.weight")


@entry(
    {
        "R+ of the first stream": 3,
        "R+ inside block 1": 3,
        "R+ inside block 2": 4,
        "R+ of the second stream": 4,
        "conv2 bias against shortcut bias of block 2": 4,
    },
    [
        scaling(3, *RESNET_STREAM1),
        scaling(3, "block1.conv1.weight", "block1.conv1.bias", "block1.conv2.weight"),
        scaling(4, *RESNET_STREAM2),
        permutation(3, *RESNET_STREAM1),
        permutation(4, *RESNET_STREAM2),
        translation("block2.conv2.bias", "block2.shortcut.0.bias"),
    ],
    seed=1,
)
def resnet_plain() -> Built:
    return ResNet(bn=False, f=leaky), torch.randn(2, 2, 5, 5)


@entry(
    {
        "R+ of the first stream": 3,
        "R+ inside block 1": 3,
        "R+ inside block 2": 4,
        "R+ of the second stream": 4,
        "conv row against BN weight, all six convolutions (buffers fixed)": 3 + 3 + 3 + 4 + 4 + 4,
        "two BN biases of block 2 are added": 4,
    },
    [
        scaling(3, "bn.weight", "bn.bias", "block1.conv1.weight", "block1.bn2.weight", "block1.bn2.bias"),
        scaling(3, "block1.bn1.weight", "block1.bn1.bias", "block1.conv2.weight"),
        permutation(3, *RESNET_STREAM1, "bn.weight", "bn.bias", "block1.bn2.weight"),
        permutation(4, *RESNET_STREAM2, "block2.bn2.weight", "block2.shortcut.1.weight"),
        translation("block2.bn2.bias", "block2.shortcut.1.bias"),
    ],
    seed=1,
)
def resnet_batchnorm_eval() -> Built:
    return ResNet(bn=True, f=leaky), torch.randn(2, 2, 5, 5)


@entry(
    {
        "R+ of the first stream": 3,
        "R+ inside block 1": 3,
        "R+ inside block 2": 4,
        "R+ of the second stream": 4,
        "two BN biases of block 2 are added": 4,
    },
    [
        scaling(3, "bn.weight", "bn.bias", "block1.conv1.weight", "block1.bn2.weight", "block1.bn2.bias"),
        permutation(3, *RESNET_STREAM1, "bn.weight", "bn.bias", "block1.bn2.weight"),
    ],
    approximate={"R+ of every row into a BN": 3 + 3 + 3 + 4 + 4 + 4},
    train=True,
    seed=1,
)
def resnet_batchnorm_train() -> Built:
    return ResNet(bn=True), torch.randn(4, 2, 5, 5)


class InvertedResidual(nn.Module):
    def __init__(self, activation) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 3, 1)
        self.expand = nn.Conv2d(3, 6, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.project = nn.Conv2d(6, 3, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h = self.activation(self.bn1(self.expand(x)))
        h = self.activation(self.bn2(self.depthwise(h)))
        x = x + self.bn3(self.project(h))
        return self.head(x.mean((2, 3)))


MOBILE_BN = {
    "conv row against BN weight (buffers fixed)": 6 + 6 + 3,
    "stem.bias against bn1.bias and head.bias": 3,
    "bn3.bias against head.bias": 3,
}
MOBILE_PERMUTATIONS = [
    permutation(
        3, "stem.weight", "stem.bias", "expand.weight", "project.weight", "bn3.weight", "head.weight"
    ),
    permutation(
        6, "expand.weight", "bn1.weight", "bn1.bias", "depthwise.weight", "bn2.weight", "project.weight"
    ),
]


@entry(
    {"R+ of the stream channels (bn3 is diagonal)": 3, **MOBILE_BN},
    [
        *MOBILE_PERMUTATIONS,
        scaling(3, "stem.weight", "stem.bias", "expand.weight", "bn3.weight", "head.weight"),
    ],
    beyond={"GL(3) of the stream beyond its diagonal: project and bn3 form one full linear map": 6},
    scale=12.0,
    seed=7,
)
def mobilenet_block_relu6() -> Built:
    return InvertedResidual(nn.ReLU6), torch.randn(2, 4, 4, 5)


@entry(
    {"R+ of the stream channels": 3, "R+ of both hidden layers": 6 + 6, **MOBILE_BN},
    [
        *MOBILE_PERMUTATIONS,
        scaling(6, "bn1.weight", "bn1.bias", "depthwise.weight"),
        scaling(6, "bn2.weight", "bn2.bias", "project.weight"),
    ],
    beyond={"GL(3) of the stream beyond its diagonal: project and bn3 form one full linear map": 6},
)
def mobilenet_block_leaky() -> Built:
    return InvertedResidual(lambda: nn.LeakyReLU(0.3)), torch.randn(2, 4, 4, 5)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(2, 3, 3, padding=1)
        self.down2 = nn.Conv2d(3, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.merge = nn.Conv2d(8, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = leaky(self.down1(x))
        b = leaky(self.down2(F.max_pool2d(a, 2)))
        c = leaky(self.up(b))
        return self.out(leaky(self.merge(torch.cat([c, a], dim=1))))


@entry(
    {"R+ of down1 (read below and by the skip)": 3, "R+ of down2": 4, "R+ of up": 5, "R+ of merge": 4},
    [
        scaling(3, "down1.weight", "down1.bias", "down2.weight", "merge.weight"),
        permutation(3, "down1.weight", "down1.bias", "down2.weight", "merge.weight"),
        scaling(4, "down2.weight", "down2.bias", "up.weight"),
        scaling(5, "up.weight", "up.bias", "merge.weight"),
        permutation(5, "up.weight", "up.bias", "merge.weight"),
        permutation(4, "merge.weight", "merge.bias", "out.weight"),
    ],
)
def unet_concat() -> Built:
    return UNet(), torch.randn(2, 2, 4, 4)


@entry(
    {"R+ of the squeezed layer": 2, "R+ of the stream channels": 4},
    [
        scaling(4, "conv.weight", "conv.bias", "squeeze.weight", "out.weight"),
        scaling(2, "squeeze.weight", "squeeze.bias", "excite.weight"),
        permutation(
            4, "conv.weight", "conv.bias", "squeeze.weight", "excite.weight", "excite.bias", "out.weight"
        ),
        permutation(2, "squeeze.weight", "squeeze.bias", "excite.weight"),
    ],
    seed=5,
)
def squeeze_excite() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1)
            self.squeeze, self.excite = nn.Linear(4, 2), nn.Linear(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = leaky(self.conv(x))
            gate = self.excite(leaky(self.squeeze(h.mean((2, 3))))).sigmoid()
            return self.out(h * gate[:, :, None, None])

    return Net(), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel, common to its 2 x 2 block": 3},
    [
        scaling(3, "0.weight", "0.bias", "3.weight"),
        permutation(3, "0.weight", "0.bias", "3.weight"),
    ],
)
def pixel_shuffle() -> Built:
    layers = [nn.Conv2d(2, 12, 2), nn.PixelShuffle(2), nn.LeakyReLU(0.3), nn.Conv2d(3, 4, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 4, 4)


@entry(
    {"R+ of each channel; its four phases become channels": 3},
    [scaling(3, "0.weight", "0.bias", "3.weight"), permutation(3, "0.weight", "0.bias", "3.weight")],
)
def pixel_unshuffle() -> Built:
    layers = [nn.Conv2d(2, 3, 2), nn.LeakyReLU(0.3), nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1)]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel": 6, "R+ after the second": 6},
    [
        scaling(None, "a.weight", "a.bias", "b.weight", batch=None),
        scaling(None, "b.weight", "b.bias", "c.weight", batch=None),
    ],
)
def shufflenet_block() -> Built:
    """Grouped convolution, channel shuffle, grouped convolution."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Conv2d(4, 6, 1, groups=2),
                nn.Conv2d(6, 6, 1, groups=2),
                nn.Conv2d(6, 3, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = leaky(self.a(x))
            n, c, y, w = h.shape
            h = h.view(n, 2, c // 2, y, w).transpose(1, 2).reshape(n, c, y, w)
            return self.c(leaky(self.b(h)))

    return Net(), torch.randn(2, 4, 3, 4)


@entry(
    {"R+ of each branch": 3 + 4},
    [
        scaling(3, "a.weight", "a.bias", "out.weight"),
        scaling(4, "b.weight", "b.bias", "out.weight"),
        permutation(3, "a.weight", "a.bias", "out.weight"),
        permutation(4, "b.weight", "b.bias", "out.weight"),
    ],
)
def inception_branches() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 3, padding=1)
            self.out = nn.Conv2d(9, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
            return self.out(torch.cat([F.relu(self.a(x)), F.relu(self.b(x)), pooled], dim=1))

    return Net(), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of every layer of the dense block": 3 + 3, "R+ after the transition": 4},
    [
        scaling(3, "a.weight", "a.bias", "b.weight", "out.weight"),
        scaling(3, "b.weight", "b.bias", "out.weight"),
        permutation(4, "out.weight", "out.bias", "head.weight"),
    ],
)
def densenet_conv() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(5, 3, 3, padding=1)
            self.out, self.head = nn.Conv2d(8, 4, 1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([x, leaky(self.a(x))], dim=1)
            x = torch.cat([x, leaky(self.b(x))], dim=1)
            return self.head(leaky(self.out(x)).mean((2, 3)))

    return Net(), torch.randn(2, 2, 5, 5)


@entry(
    {
        "R+ of each stream channel (amax is homogeneous)": 4,
        "layer scale against pw2": 4,
        "R+ between dw and pw1, one channel each": 4,
        "dw.bias into pw1.bias": 4,
        "pw2.bias into head.bias (amax moves along)": 4,
    },
    [
        scaling(4, "stem.weight", "stem.bias", "dw.weight", "gamma", "head.weight"),
        scaling(4, "dw.weight", "dw.bias", "pw1.weight"),
        translation("dw.bias", "pw1.bias"),
        translation("pw2.bias", "head.bias"),
        scaling(4, "gamma", "pw2.weight", "pw2.bias"),
        sign(4, "gamma", "pw2.weight", "pw2.bias"),
        permutation(6, "pw1.weight", "pw1.bias", "pw2.weight"),
        permutation(4, "stem.weight", "dw.weight", "pw1.weight", "pw2.weight", "gamma", "head.weight"),
    ],
)
def convnext_block_no_norm() -> Built:
    """Layer scale: x + gamma * pw2(gelu(pw1(dw(x))))."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.dw = nn.Conv2d(2, 4, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.pw1, self.pw2 = nn.Linear(4, 6), nn.Linear(6, 4)
            self.gamma = nn.Parameter(torch.ones(4))
            self.head = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            h = self.dw(x).permute(0, 2, 3, 1)
            h = self.gamma * self.pw2(F.gelu(self.pw1(h)))
            x = x + h.permute(0, 3, 1, 2)
            return self.head(x.amax((2, 3)))

    return Net(), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel": 3},
    [
        scaling(3, "conv.weight", "conv.bias", "out.weight"),
        permutation(3, "conv.weight", "conv.bias", "out.weight"),
    ],
)
def unfold_patches() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(2, 3, 2), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(x))
            patches = F.unfold(h, 2).transpose(1, 2)  # n, positions, 3 * 4
            return self.out(patches)

    return Net(), torch.randn(2, 2, 4, 4)


@entry(
    {"uniform shift of the channel softmax: kernel and bias": 3 * 4 + 1, "R+ of each channel": 3},
    [scaling(3, "0.weight", "0.bias", "2.weight"), translation("2.weight"), translation("2.bias")],
)
def segmentation_softmax() -> Built:
    layers = [nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.3), nn.Conv2d(3, 4, 2), Lambda(lambda z: z.log_softmax(1))]
    return nn.Sequential(*layers), torch.randn(2, 2, 5, 5)


@entry(
    {"R+ of each channel": 4, "translation: a maximum moves along": 4},
    [
        scaling(4, "0.weight", "0.bias", "3.weight"),
        permutation(4, "0.weight", "0.bias", "3.weight"),
        translation("0.bias", "3.bias"),
    ],
    not_group=[("GeneralLinear", "0.weight"), ("SignFlip", "0.weight")],
)
def max_pool_without_activation() -> Built:
    return pair(nn.MaxPool2d(2), nn.Flatten(), last=nn.Linear(4 * 6, 3))


@entry({}, [permutation(3, "conv.weight", "conv.bias")], not_group=[("PositiveScaling", "conv.weight")])
def tied_conv_autoencoder() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return F.conv_transpose2d(leaky(self.conv(x)), self.conv.weight)

    return Net(), torch.randn(2, 2, 4, 4)


@entry(
    {"R+ of each channel through g": 4, "v is read by direction: R+ of each kernel": 4},
    [
        scaling(4, "0.parametrizations.weight.original0", "0.bias", "2.weight"),
        scaling(4, "0.parametrizations.weight.original1"),
        permutation(4, "0.parametrizations.weight.original1", "0.bias", "2.weight"),
    ],
)
def conv_weight_norm() -> Built:
    first = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 2))
    return nn.Sequential(first, nn.LeakyReLU(0.3), nn.Conv2d(4, 3, 2)), torch.randn(2, 2, 4, 4)


@entry(
    {"R+ of each value channel": 4},
    [
        scaling(4, "0.weight", "0.bias", "2.weight"),
        sign(4, "0.weight", "0.bias", "2.weight"),
        permutation(4, "0.weight", "0.bias", "2.weight"),
    ],
)
def conv_glu() -> Built:
    layers = [nn.Conv1d(2, 8, 2), nn.GLU(dim=1), nn.Conv1d(4, 3, 2)]
    return nn.Sequential(*layers), torch.randn(2, 2, 6)
