"""Modules used more than once, tied weights, tied autoencoders."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import Built, entry, leaky, linear, orthogonal, permutation, scaling, sign, translation


class Looped(nn.Module):
    """One layer applied several times between an input and an output layer."""

    def __init__(self, activation) -> None:  # noqa: ANN001
        super().__init__()
        self.inp, self.loop, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.f = activation

    def forward(self, x: Tensor) -> Tensor:
        h = self.f(self.inp(x))
        for _ in range(3):
            h = self.f(self.loop(h))
        return self.out(h)


LOOP = ("inp.weight", "inp.bias", "loop.weight", "loop.bias", "out.weight")
entry(
    {"R+ of each unit, loop.weight by s_i / s_j": 4},
    [scaling(4, *LOOP), permutation(4, *LOOP)],
    name="loop_leaky",
)(lambda: (Looped(leaky), torch.randn(2, 3)))
entry({}, [sign(4, *LOOP), permutation(4, *LOOP)], name="loop_tanh")(
    lambda: (Looped(torch.tanh), torch.randn(2, 3))
)


class LoopedLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.loop, self.out = (
            nn.Linear(5, 3),
            nn.Linear(3, 3, bias=False),
            nn.Linear(3, 5, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        return torch.cat([self.out(h), self.out(self.loop(h)), self.out(self.loop(self.loop(h)))], -1)


@entry({"GL of the looped state, by conjugation of the loop": 9}, [])
def loop_linear() -> Built:
    return LoopedLinear(), torch.randn(2, 5)


class TiedAutoencoder(nn.Module):
    """W^T f(W x + b) + c"""

    def __init__(self, activation, *, bias: bool = True) -> None:  # noqa: ANN001
        super().__init__()
        self.encoder = nn.Linear(5, 3, bias=bias)
        self.c = nn.Parameter(torch.zeros(5))
        self.f = activation

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.f(self.encoder(x)), self.encoder.weight.t()) + self.c


TIED = ("encoder.weight", "encoder.bias")
entry(
    {},
    [permutation(3, *TIED)],
    not_group=[("PositiveScaling", "encoder.weight")],
    name="tied_autoencoder_relu",
)(lambda: (TiedAutoencoder(F.relu), torch.randn(2, 5)))
entry({}, [permutation(3, *TIED), sign(3, *TIED)], name="tied_autoencoder_tanh")(
    lambda: (TiedAutoencoder(torch.tanh), torch.randn(2, 5))
)
entry(
    {"O of the code: W by Q on both sides": 3, "translation of the code: b += t, c -= W^T t": 3},
    [orthogonal(3, *TIED), translation("encoder.bias", "c")],
    name="tied_autoencoder_linear",
)(lambda: (TiedAutoencoder(lambda z: z), torch.randn(2, 5)))


@entry(
    {"R+ of each unit": 6, "the two factors of each output": 4},
    [
        scaling(6, "first.weight", "first.bias", "out_a.weight", "out_b.weight"),
        permutation(6, "first.weight", "first.bias", "out_a.weight", "out_b.weight"),
        scaling(4, "out_a.weight", "out_a.bias", "out_b.weight", "out_b.bias"),
        sign(4, "out_a.weight", "out_a.bias", "out_b.weight", "out_b.bias"),
    ],
)
def shared_first_layer() -> Built:
    """One layer reads both inputs; two outputs are multiplied."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 6)
            self.out_a, self.out_b = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.out_a(leaky(self.first(x))) * self.out_b(leaky(self.first(y)))

    return Net(), (torch.randn(2, 3), torch.randn(2, 3))


@entry(
    {"R+ of each unit of the shared encoder, common to both heads": 5},
    [
        scaling(5, "encoder.weight", "encoder.bias", "a.weight", "b.weight"),
        permutation(5, "encoder.weight", "encoder.bias", "a.weight", "b.weight"),
    ],
)
def two_heads() -> Built:
    """Two outputs, as a tuple."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = leaky(self.encoder(x))
            return self.a(h), self.b(h)

    return Net(), torch.randn(2, 3)


@entry({"R+ of each unit": 4}, [scaling(4, "layer.weight", "layer.bias", "out.weight")], rigid=())
def dict_in_dict_out() -> Built:
    """Keyword inputs and a dictionary of outputs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            h = leaky(self.layer(left))
            return {"sum": self.out(h) + right, "product": self.out(h) * right}

    return Net(), {"left": torch.randn(2, 3), "right": torch.randn(2, 2)}


@entry(
    {"GL of the middle of the tied linear maps: B A and its transpose": 4},
    [linear(2, "a", "b")],
)
def tied_transposed_product() -> Built:
    """x (B A) then relu, then (B A)^T: the low-rank weight is used twice."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(4, 2))

        def forward(self, x: Tensor) -> Tensor:
            w = self.b @ self.a
            return F.linear(torch.tanh(F.linear(x, w)), w.t())

    return Net(), torch.randn(2, 5)


@entry(
    {"R+ of each channel between the convolutions; the kernel is shared by two branches": 3},
    [
        scaling(3, "conv.weight", "conv.bias", "out.weight"),
        permutation(3, "conv.weight", "conv.bias", "out.weight"),
    ],
)
def shared_convolution() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            fine = leaky(self.conv(x))
            coarse = leaky(self.conv(F.avg_pool2d(x, 2)))
            return self.out(torch.cat([fine, F.interpolate(coarse, scale_factor=2.0)], dim=1))

    return Net(), torch.randn(2, 2, 4, 6)
