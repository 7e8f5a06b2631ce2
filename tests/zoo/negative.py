"""Architectures that lack the symmetry one is tempted to assume: something fixed tells the units apart."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import Built, entry, permutation, scaling, translation


class Hidden(nn.Module):
    """Linear, something done to the hidden axis, Linear (or a fixed sum)."""

    def __init__(self, middle, *, h: int = 5, constant: Tensor | None = None, out: bool = True) -> None:  # noqa: ANN001
        super().__init__()
        self.inp = nn.Linear(3, h)
        self.out = nn.Linear(h, 4) if out else nn.Identity()
        self.middle = middle
        self.register_buffer("constant", torch.linspace(0.4, 1.7, h) if constant is None else constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.middle(self.inp(x), self.constant))


X = (2, 3)
ALL = ("inp.weight", "inp.bias", "out.weight", "out.bias")


@entry({}, rigid=ALL)
def unit_constants() -> Built:
    """A different fixed factor per unit between two activations that are not homogeneous."""
    return Hidden(lambda z, c: F.gelu(F.gelu(z) * c)), torch.randn(X)


@entry({}, rigid=("inp.weight", "inp.bias"))
def unit_fixed_sum() -> Built:
    """Hidden units summed with fixed different weights."""
    return Hidden(lambda z, c: F.gelu(z) @ c, out=False), torch.randn(X)


@entry({}, rigid=("inp.weight", "inp.bias"))
def unit_fixed_sum_relu() -> Built:
    """No scaling either: the weights of the sum are not parameters."""
    return Hidden(lambda z, c: (z.relu() * c).sum(-1, keepdim=True), out=False), torch.randn(X)


@entry({}, [permutation(5, "inp.weight", "inp.bias")], rigid=())
def unit_plain_sum() -> Built:
    """The unweighted sum: units may be exchanged, nothing else."""
    return Hidden(lambda z, c: F.gelu(z).sum(-1, keepdim=True), out=False), torch.randn(X)


@entry({}, rigid=ALL)
def unit_cumsum() -> Built:
    """Prefix sums order the units."""
    return Hidden(lambda z, c: F.gelu(F.gelu(z).cumsum(-1))), torch.randn(X)


@entry({}, not_group=[("PositiveScaling", "inp.weight"), ("GeneralLinear", "inp.weight")])
def unit_flip() -> Built:
    """z + flip(z): only the exchange of mirrored pairs, and pairs with pairs, survives."""
    return Hidden(lambda z, c: F.gelu(z) + torch.tanh(z.flip(-1))), torch.randn(X)


@entry({}, not_group=[("PositiveScaling", "inp.weight")])
def unit_roll() -> Built:
    """z and its neighbour: only cyclic shifts of the units survive."""
    return Hidden(lambda z, c: F.gelu(z) + torch.tanh(z.roll(1, -1))), torch.randn(X)


@entry({}, rigid=ALL)
def unit_fixed_matrix() -> Built:
    """A fixed matrix mixes the units between two activations."""
    mixing = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    return Hidden(lambda z, c: torch.tanh(F.gelu(z) @ c), constant=mixing), torch.randn(X)


@entry({}, rigid=ALL)
def unit_convolution() -> Built:
    """A fixed convolution runs along the hidden axis."""
    kernel = torch.tensor([[[0.5, 1.0, -0.7]]])
    return (
        Hidden(lambda z, c: F.gelu(F.conv1d(F.gelu(z)[:, None], c, padding=1)[:, 0]), constant=kernel),
        torch.randn(X),
    )


@entry({}, rigid=ALL)
def unit_positions() -> Built:
    """A fixed code per unit inside the activation: sin(z^2 + c z)."""
    return Hidden(lambda z, c: torch.sin(z * z + torch.tanh(z) * c)), torch.randn(X)


@entry(
    {"R+ of each unit: a factor per unit commutes with scalings": 5},
    [scaling(5, "inp.weight", "inp.bias", "out.weight")],
)
def unit_mask_relu() -> Built:
    """x * fixed vector after ReLU: scalings survive; plain permutations do not."""
    return Hidden(lambda z, c: z.relu() * c), torch.randn(X)


@entry(
    {},
    [permutation(5, "inp.weight", "inp.bias", "out.weight")],
    not_group=[("PositiveScaling", "inp.weight")],
)
def unit_threshold() -> Built:
    """relu(z - 0.3): one constant for all units keeps S_h but is not homogeneous."""
    return Hidden(lambda z, c: torch.where(z > 0.3, z * z, 0.1 * z)), torch.randn(X)


@entry(
    {},
    [permutation(5, "inp.weight", "inp.bias", "out.weight")],
    not_group=[("PositiveScaling", "inp.weight")],
    scale=4.5,
)
def unit_clamp() -> Built:
    """clamp(-1, 2): saturates at fixed values."""
    return Hidden(lambda z, c: z.clamp(-1.0, 2.0)), torch.randn(X)


@entry({}, [permutation(4, "0.weight", "0.bias", "3.weight")], not_group=[("PositiveScaling", "0.weight")])
def constant_padding_not_zero() -> Built:
    """Padding by ones is not scaled along."""
    layers = [nn.Conv1d(3, 4, 3), nn.ReLU(), nn.ConstantPad1d(1, 1.0), nn.Conv1d(4, 5, 3)]
    return nn.Sequential(*layers), torch.randn(2, 3, 7)


@entry(
    {},
    rigid=("scale",),
    not_group=[("PositiveScaling", "scale"), ("SignFlip", "scale")],
)
def input_scaled() -> Built:
    """A learned factor on the input feeds a sine and, directly, the output."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cos(x * self.scale + 0.3) + x * self.scale

    return Net(), torch.randn(X)


@entry({}, rigid=("0.weight", "0.bias"))
def output_units() -> Built:
    """Output units themselves: nothing behind them could compensate."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh()), torch.randn(X)


@entry({}, rigid=("w", "b"))
def time_varying_recurrence() -> Built:
    """h' = tanh(W h + b + ramp): the state starts from the input and is the output."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.b = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3))
            self.register_buffer("ramp", torch.tensor([0.1, -0.4, 0.9]))

        def forward(self, x: Tensor) -> Tensor:
            for t in range(3):
                x = torch.tanh(F.linear(x, self.w, self.b) + t * self.ramp)
            return x

    return Net(), torch.randn(X)


@entry(
    None,
    [permutation(5, "inp.weight", "inp.bias")],
    not_group=[("PositiveScaling", "inp.weight")],
    measured=0,
)
def sorted_hidden() -> Built:
    """sort() forgets the order of the units below it and fixes the order above it."""
    return Hidden(lambda z, c: torch.sort(F.gelu(z), dim=-1).values), torch.randn(X)


@entry({"the bias is added twice": 3}, [translation("lin.bias", "extra")])
def doubled_bias() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.extra = nn.Linear(3, 3), nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.lin(x) + 2 * self.extra)

    return Net(), torch.randn(X)


@entry({}, beyond={"a parameter that the forward pass never uses": 4}, rigid=["lin.weight", "lin.bias"])
def unused_parameter() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.unused = nn.Linear(3, 3), nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.lin(x))

    return Net(), torch.randn(X)
