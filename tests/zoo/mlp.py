"""Fully connected networks: activations, gates, linear paths, products, residual streams."""

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

HIDDEN = ("0.weight", "0.bias", "2.weight")  # of Linear, activation, Linear


def two_layer(activation: nn.Module, *, h: int = 5) -> Built:
    return nn.Sequential(nn.Linear(3, h), activation, nn.Linear(h, 4)), torch.randn(2, 3)


@entry({}, rigid=("weight", "bias"))
def linear_single() -> Built:
    return nn.Linear(3, 4), torch.randn(2, 3)


# --- positively homogeneous activations: R+ per unit, S_h ---

HOMOGENEOUS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "rrelu_eval": nn.RReLU,
    "relu_squared": lambda: Lambda(lambda x: F.relu(x) ** 2),
    "relu_cubed": lambda: Lambda(lambda x: F.relu(x).pow(3)),
    "abs": lambda: Lambda(torch.abs),
    "square": lambda: Lambda(torch.square),
    "clamp_min": lambda: Lambda(lambda x: x.clamp(min=0)),
    "maximum_zero": lambda: Lambda(lambda x: torch.maximum(x, torch.zeros_like(x))),
    "where_positive": lambda: Lambda(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "cube": lambda: Lambda(lambda x: x**3),
    "signed_square": lambda: Lambda(lambda x: x * x.abs()),
}
EVEN_OR_ODD = {"abs", "square", "cube", "signed_square"}
MORE = {"square": {"five squares of affine maps of R^3: a quadratic map is such a sum in more ways": 1}}
for _name, _make in HOMOGENEOUS.items():
    entry(
        {"R+ of each hidden unit: the activation is homogeneous of some degree": 5},
        [scaling(5, *HIDDEN), permutation(5, *HIDDEN)]
        + ([sign(5, "0.weight", "0.bias")] if _name in EVEN_OR_ODD else []),
        beyond=MORE.get(_name),
        name=f"mlp_{_name}",
    )(lambda make=_make: two_layer(make()))


@entry(
    {"R+ of each hidden unit; the slope is the same on both sides of the scaling": 5},
    [scaling(5, *HIDDEN), permutation(5, *HIDDEN)],
    rigid=["1.weight"],
)
def mlp_prelu_shared() -> Built:
    return two_layer(nn.PReLU())


@entry(
    {"R+ of each hidden unit; slopes unchanged": 5},
    [scaling(5, *HIDDEN), permutation(5, *HIDDEN, "1.weight")],
)
def mlp_prelu_channel() -> Built:
    return two_layer(nn.PReLU(5))


# --- odd activations: Z2 per unit; neither: S_h only ---

ODD = {
    "tanh": nn.Tanh,
    "softsign": nn.Softsign,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": nn.Softshrink,
    "hardshrink": nn.Hardshrink,
    "hardtanh": nn.Hardtanh,
    "sin": lambda: Lambda(torch.sin),
    "erf": lambda: Lambda(torch.erf),
    "atan": lambda: Lambda(torch.atan),
    "asinh": lambda: Lambda(torch.asinh),
    "tanh_handwritten": lambda: Lambda(lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
}
for _name, _make in ODD.items():
    _found = [permutation(5, *HIDDEN)] + ([] if "handwritten" in _name else [sign(5, *HIDDEN)])
    # The Jacobian does not see the jumps of hardshrink; between them it is linear.
    _blind = 5 if _name == "hardshrink" else None
    entry({}, _found, scale=6.0 if "hard" in _name else 1.5, measured=_blind, name=f"mlp_{_name}")(
        lambda make=_make: two_layer(make())
    )

EVEN = {"cos": torch.cos, "cosh": torch.cosh}
for _name, _f in EVEN.items():
    entry({}, [permutation(5, *HIDDEN), sign(5, "0.weight", "0.bias")], name=f"mlp_{_name}")(
        lambda f=_f: two_layer(Lambda(f))
    )

PLAIN = {
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "relu6": nn.ReLU6,
    "logsigmoid": nn.LogSigmoid,
    "exp": lambda: Lambda(torch.exp),
}
NULL_BEYOND = {
    "exp": {"exp(x + t) = e^t exp(x): a bias shift is a scaling of the outgoing column": 5},
}
for _name, _make in PLAIN.items():
    entry(
        {},
        [permutation(5, *HIDDEN)],
        beyond=NULL_BEYOND.get(_name),
        scale=24.0 if _name in {"hardswish", "hardsigmoid", "relu6"} else 1.5,  # to reach both flat ends
        name=f"mlp_{_name}",
    )(lambda make=_make: two_layer(make()))


@entry(
    {"R+ of each hidden unit": 5},
    [scaling(5, "0.weight", "2.weight"), permutation(5, "0.weight", "2.weight")],
)
def mlp_no_bias() -> Built:
    return nn.Sequential(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False)), torch.randn(
        2, 3
    )


@entry(
    {"R+ of the first hidden layer": 5, "R+ of the second hidden layer": 6},
    [scaling(5, *HIDDEN), scaling(6, "2.weight", "2.bias", "4.weight"), permutation(5, *HIDDEN)],
)
def mlp_deep() -> Built:
    layers = [nn.Linear(3, 5), nn.LeakyReLU(0.3), nn.Linear(5, 6), nn.LeakyReLU(0.3), nn.Linear(6, 4)]
    return nn.Sequential(*layers), torch.randn(2, 3)


@entry(
    {"R+ of the ReLU layer; the tanh layer has none": 5},
    [scaling(5, *HIDDEN), sign(6, "2.weight", "2.bias", "4.weight"), permutation(6, "2.weight", "4.weight")],
)
def mlp_relu_then_tanh() -> Built:
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)]
    return nn.Sequential(*layers), torch.randn(2, 3)


@entry(
    {"R+ of each hidden unit": 5}, [scaling(5, "0.weight", "0.bias", "3.weight"), permutation(5, "0.bias")]
)
def mlp_dropout_eval() -> Built:
    return (
        nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(0.4), nn.Linear(5, 4)),
        torch.randn(2, 3),
    )


@entry({"R+ of each hidden unit, in-place activation": 5}, [scaling(5, *HIDDEN), permutation(5, *HIDDEN)])
def mlp_inplace() -> Built:
    return two_layer(nn.ReLU(inplace=True))


@entry(
    {"R+ of each hidden unit; the leading axes are batch": 5}, [scaling(5, *HIDDEN), permutation(5, *HIDDEN)]
)
def mlp_on_sequences() -> Built:
    model, _ = two_layer(nn.ReLU())
    return model, torch.randn(2, 6, 3)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.incoming = nn.Linear(3, 4 * 3)
        self.outgoing = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.outgoing(self.incoming(x).view(-1, 4, 3).max(-1).values)


@entry(
    {"R+ of each maxout unit, common to its pieces": 4, "translation: a maximum moves along": 4},
    [
        translation("incoming.bias", "outgoing.bias"),
        scaling(4, "incoming.weight", "incoming.bias", "outgoing.weight"),
        permutation(4, "incoming.weight", "incoming.bias", "outgoing.weight"),
        permutation(3, "incoming.weight", "incoming.bias", batch=(4,)),
    ],
)
def mlp_maxout() -> Built:
    return Maxout(), torch.randn(2, 3)


# --- gates ---


class Gated(nn.Module):
    """down(value(x) * f(gate(x)))"""

    def __init__(self, f, *, i: int = 3, h: int = 5) -> None:  # noqa: ANN001
        super().__init__()
        self.gate, self.value, self.down = nn.Linear(i, h), nn.Linear(i, h), nn.Linear(h, 4)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.value(x) * self.f(self.gate(x)))


class FusedGated(nn.Module):
    """The same with one linear layer, cut in two by chunk, split, a slice or a view."""

    def __init__(self, f, cut: str) -> None:  # noqa: ANN001
        super().__init__()
        self.up = nn.Linear(3, 10)
        self.down = nn.Linear(5, 4)
        self.f, self.cut = f, cut

    def forward(self, x: Tensor) -> Tensor:
        z = self.up(x)
        if self.cut == "chunk":
            value, gate = z.chunk(2, dim=-1)
        elif self.cut == "split":
            value, gate = z.split([5, 5], dim=-1)
        elif self.cut == "slice":
            value, gate = z[..., :5], z[..., 5:]
        elif self.cut == "view":
            value, gate = z.view(-1, 2, 5).unbind(1)
        else:  # interleaved
            value, gate = z[..., ::2], z[..., 1::2]
        return self.down(value * self.f(gate))


VALUE = ("value.weight", "value.bias", "down.weight")
GATE = ("gate.weight", "gate.bias", "down.weight")
ALL_GATED = (*VALUE, "gate.weight", "gate.bias")
GATES = {"glu": torch.sigmoid, "swiglu": F.silu, "geglu": F.gelu, "tanh_gate": torch.tanh}
for _name, _f in GATES.items():
    entry(
        {"R+ of each value unit, the gate is not homogeneous": 5},
        [scaling(5, *VALUE), sign(5, *VALUE), permutation(5, *ALL_GATED)]
        + ([sign(5, *GATE)] if _name == "tanh_gate" else []),
        name=f"gate_{_name}",
    )(lambda f=_f: (Gated(f), torch.randn(2, 3)))

entry(
    {"R+ of each value unit": 5, "R+ of each gate unit": 5},
    [scaling(5, *VALUE), scaling(5, *GATE), sign(5, *VALUE), permutation(5, *ALL_GATED)],
    name="gate_reglu",
)(lambda: (Gated(F.relu), torch.randn(2, 3)))
entry(
    {"R+ of each value unit": 3, "R+ of each gate unit": 3},
    [scaling(3, *VALUE), scaling(3, *GATE), sign(3, *VALUE), sign(3, *GATE), permutation(3, *ALL_GATED)],
    name="gate_bilinear",
)(lambda: (Gated(lambda z: z, i=8, h=3), torch.randn(2, 8)))

for _cut in ("chunk", "split", "slice", "view", "interleaved"):
    entry(
        {"R+ of each value unit": 5},
        [
            scaling(5, "up.weight", "up.bias", "down.weight"),
            permutation(5, "up.weight", "up.bias", "down.weight"),
        ],
        name=f"gate_fused_{_cut}",
    )(lambda cut=_cut: (FusedGated(F.silu, cut), torch.randn(2, 3)))


@entry(
    {"R+ of each value unit of F.glu": 5}, [scaling(5, *HIDDEN), permutation(5, *HIDDEN), sign(5, *HIDDEN)]
)
def gate_nn_glu() -> Built:
    return nn.Sequential(nn.Linear(3, 10), nn.GLU(), nn.Linear(5, 4)), torch.randn(2, 3)


# --- softmax ---

for _name, _make in {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}.items():
    entry(
        {
            "R+ of each hidden unit": 5,
            "uniform shift of the logits by each hidden unit: W2 += 1 v^T": 5,
            "uniform shift of the logits by the bias": 1,
        },
        [scaling(5, *HIDDEN), permutation(5, *HIDDEN), translation("2.weight"), translation("2.bias")],
        name=f"mlp_{_name}",
    )(
        lambda make=_make: (
            nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), make(dim=-1)),
            torch.randn(2, 3),
        )
    )


@entry(
    {"R+": 5, "uniform shift of the logits: W2 += 1 v^T": 5, "uniform shift by the bias": 1},
    [scaling(5, *HIDDEN), translation("2.weight"), translation("2.bias")],
)
def mlp_softmax_handwritten() -> Built:
    def softmax(z: Tensor) -> Tensor:
        e = (z - z.amax(-1, keepdim=True)).exp()
        return e / e.sum(-1, keepdim=True)

    return (
        nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), Lambda(softmax)),
        torch.randn(2, 3),
    )


@entry(
    {
        "uniform shift into the softmax: W1 += 1 v^T": 3,
        "and by its bias": 1,
        "probabilities sum to one: W2 += v 1^T, b2 -= v": 4,
    },
    [
        permutation(5, *HIDDEN),
        translation("0.weight"),
        translation("0.bias"),
        translation("2.weight", "2.bias"),
    ],
)
def mlp_softmax_inside() -> Built:
    return two_layer(nn.Softmax(dim=-1))


# --- linear paths ---


@entry(
    {"GL of the hidden layer": 9},
    [linear(3, "0.weight", "1.weight")],
)
def deep_linear_no_bias() -> Built:
    return nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 4, bias=False)), torch.randn(2, 5)


@entry(
    {"GL of the hidden layer": 9, "translation of the hidden layer": 3},
    [linear(3, "0.weight", "0.bias", "1.weight"), translation("0.bias", "1.bias")],
)
def deep_linear_bias() -> Built:
    return nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 4)), torch.randn(2, 5)


@entry(
    {"GL of both hidden layers": 9 + 9, "translations of both": 3 + 3},
    [
        linear(3, "0.weight", "0.bias", "1.weight"),
        linear(3, "1.weight", "1.bias", "2.weight"),
        translation("0.bias", "1.bias"),
        translation("1.bias", "2.bias"),
    ],
)
def deep_linear_three() -> Built:
    return nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3), nn.Linear(3, 4)), torch.randn(2, 5)


@entry(
    {"GL of both hidden layers": 16 + 9},
    [linear(4, "0.weight", "1.weight"), linear(3, "1.weight", "2.weight")],
    beyond={"W0 += n v^T with n in the kernel of W1 (1 x 6), beyond the GL(4) part (4)": 2},
)
def deep_linear_bottleneck() -> Built:
    widths = (6, 4, 3, 5)
    layers = [nn.Linear(i, o, bias=False) for i, o in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*layers), torch.randn(2, 6)


@entry(
    {"GL between the matrices": 9, "translation": 3},
    [linear(3, "w1", "b1", "w2"), translation("b1", "b2")],
)
def deep_linear_matmul() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1 = nn.Parameter(torch.randn(5, 3))
            self.b1 = nn.Parameter(torch.randn(3))
            self.w2 = nn.Parameter(torch.randn(3, 4))
            self.b2 = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.w1 + self.b1) @ self.w2 + self.b2

    return Net(), torch.randn(2, 5)


@entry(
    {"GL of the middle index": 9},
    [linear(3, "a", "b")],
)
def weights_multiplied_first() -> Built:
    """Low-rank weight: (A B) is formed before it meets the data."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.randn(5, 3))
            self.b = nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.a @ self.b)

    return Net(), torch.randn(2, 4)


@entry(
    {"GL of each of two contracted indices": 9 + 4},
    [linear(3, "a", "core"), linear(2, "b", "core")],
)
def einsum_tucker() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.randn(3, 5))
            self.b = nn.Parameter(torch.randn(2, 4))
            self.core = nn.Parameter(torch.randn(6, 3, 2))

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.einsum("ni,pi,opq,qj,nj->no", x, self.a, self.core, self.b, y)

    return Net(), (torch.randn(2, 5), torch.randn(2, 4))


@entry(
    {"CP rank-one terms: three scalings whose product is one, each of 3 terms": 6},
    [permutation(3, "a", "b", "c"), scaling(3, "a", "c"), sign(3, "a", "c")],
)
def einsum_cp() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.randn(3, 5))
            self.b = nn.Parameter(torch.randn(3, 4))
            self.c = nn.Parameter(torch.randn(6, 3))

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.einsum("ni,ri,nj,rj,or->no", x, self.a, y, self.b, self.c)

    return Net(), (torch.randn(2, 5), torch.randn(2, 4))


@entry(
    {"GL of the first argument of the form": 9, "GL of the second": 4},
    [
        linear(3, "left.weight", "left.bias", "form.weight"),
        linear(2, "right.weight", "right.bias", "form.weight"),
    ],
)
def bilinear_form() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(5, 2)
            self.form = nn.Bilinear(3, 2, 6)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.form(self.left(x), self.right(y))

    return Net(), (torch.randn(2, 4), torch.randn(2, 5))


@entry(
    {"R+ of each unit of each expert": 2 * 5},
    [
        scaling(5, "w1", "b1", "w2", batch=None),
        permutation(5, "w1", "b1", "w2", batch=(2,)),
        permutation(2, "w1", "w2"),
    ],
)
def experts_bmm() -> Built:
    """Two networks as one batched matrix product; their sum is the output."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1 = nn.Parameter(torch.randn(2, 3, 5))
            self.b1 = nn.Parameter(torch.randn(2, 1, 5))
            self.w2 = nn.Parameter(torch.randn(2, 5, 4))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.bmm(x.expand(2, -1, -1), self.w1) + self.b1
            return torch.bmm(h.relu(), self.w2).sum(0)

    return Net(), torch.randn(2, 3)


@entry(
    {
        "uniform shift of the gate logits: weight and bias": 3 + 1,
        "R+ of each unit of each expert": 2 * 5,
    },
    [
        scaling(5, "experts.0.0.weight", "experts.0.0.bias", "experts.0.2.weight"),
        scaling(5, "experts.1.0.weight", "experts.1.0.bias", "experts.1.2.weight"),
        translation("gate.weight"),
        translation("gate.bias"),
    ],
)
def moe_soft() -> Built:
    """Every expert computes; a softmax weighs them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(3, 2)
            self.experts = nn.ModuleList(two_layer(nn.ReLU())[0] for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            p = self.gate(x).softmax(-1)
            y = torch.stack([e(x) for e in self.experts], dim=-1)
            return (y * p.unsqueeze(-2)).sum(-1)

    return Net(), torch.randn(2, 3)


@entry(
    {"uniform shift of the gate logits": 3 + 1, "R+ of each unit of each expert": 3 * 5},
    [
        permutation(3, "gate.weight", "gate.bias", "w1", "b1", "w2"),
        permutation(5, "w1", "b1", "w2", batch=(3,)),
        scaling(5, "w1", "b1", "w2", batch=None),
        translation("gate.weight"),
        translation("gate.bias"),
    ],
)
def moe_soft_stacked() -> Built:
    """The same with stacked experts: they can be permuted together with the gate."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(3, 3)
            self.w1 = nn.Parameter(torch.randn(3, 5, 3))
            self.b1 = nn.Parameter(torch.randn(3, 5))
            self.w2 = nn.Parameter(torch.randn(3, 4, 5))

        def forward(self, x: Tensor) -> Tensor:
            p = self.gate(x).softmax(-1)
            h = torch.einsum("ni,ehi->neh", x, self.w1) + self.b1
            return torch.einsum("neh,eoh,ne->no", h.relu(), self.w2, p)

    return Net(), torch.randn(2, 3)


# --- residual streams ---


class ResidualMLP(nn.Module):
    def __init__(self, activation, *, stream=lambda x: x) -> None:  # noqa: ANN001
        super().__init__()
        self.inp = nn.Linear(5, 4)
        self.up = nn.Linear(4, 6)
        self.down = nn.Linear(6, 4)
        self.out = nn.Linear(4, 5)
        self.f, self.stream = activation, stream

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(self.inp(x))
        x = self.stream(x + self.down(self.f(self.up(x))))
        return self.out(x)


STREAM = ("inp.weight", "inp.bias", "up.weight", "down.weight", "down.bias", "out.weight")


@entry(
    {
        "GL of the stream: only linear maps touch it": 16,
        "translation of the stream from its start: inp.bias, up.bias, out.bias": 4,
        "translation from the block on: down.bias, out.bias": 4,
        "R+ of each hidden unit": 6,
    },
    [
        linear(4, *STREAM),
        translation("inp.bias", "up.bias"),
        translation("down.bias", "out.bias"),
        scaling(6, "up.weight", "up.bias", "down.weight"),
        permutation(6, "up.weight", "up.bias", "down.weight"),
    ],
)
def residual_linear_stream() -> Built:
    return ResidualMLP(leaky), torch.randn(2, 5)


@entry(
    {"R+ of each stream channel": 4, "R+ of each hidden unit": 6},
    [scaling(4, *STREAM), permutation(4, *STREAM), scaling(6, "up.weight", "up.bias", "down.weight")],
    scale=4.5,
)
def residual_relu_stream() -> Built:
    return ResidualMLP(leaky, stream=leaky), torch.randn(2, 5)


@entry({}, [sign(4, *STREAM), permutation(4, *STREAM), sign(6, "up.weight", "up.bias", "down.weight")])
def residual_tanh_stream() -> Built:
    return ResidualMLP(torch.tanh, stream=torch.tanh), torch.randn(2, 5)


@entry(
    {"R+ of each channel of the stream": 4},
    [
        scaling(4, "inp.weight", "h.weight", "t.weight", "out.weight"),
        permutation(4, "inp.weight", "t.weight"),
    ],
)
def highway() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.h, self.t, self.out = (
                nn.Linear(5, 4),
                nn.Linear(4, 4),
                nn.Linear(4, 4),
                nn.Linear(4, 5),
            )

        def forward(self, x: Tensor) -> Tensor:
            x = self.inp(x)
            t = self.t(x).sigmoid()
            return self.out(t * self.h(x).relu() + (1 - t) * x)

    return Net(), torch.randn(2, 5)


class DenseMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(7, 5), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.cat([x, leaky(self.a(x))], dim=-1)
        b = torch.cat([a, leaky(self.b(a))], dim=-1)
        return self.out(b)


@entry(
    {"R+ of a's units": 4, "R+ of b's units": 5},
    [
        scaling(4, "a.weight", "a.bias", "b.weight", "out.weight"),
        scaling(5, "b.weight", "b.bias", "out.weight"),
        permutation(4, "a.weight", "a.bias", "b.weight", "out.weight"),
        permutation(5, "b.weight", "b.bias", "out.weight"),
    ],
)
def densenet_mlp() -> Built:
    return DenseMLP(), torch.randn(2, 3)


@entry(
    {"R+ of each unit; the two slices go to different layers": 5},
    [
        scaling(2, "inp.weight", "inp.bias", "a.weight"),
        scaling(3, "inp.weight", "inp.bias", "b.weight"),
        permutation(2, "inp.weight", "inp.bias", "a.weight"),
        permutation(3, "inp.weight", "inp.bias", "b.weight"),
    ],
)
def sliced_hidden() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.a, self.b = nn.Linear(3, 5), nn.Linear(2, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.inp(x).relu()
            return self.a(h[:, :2]) * self.b(h[:, 2:]).tanh()

    return Net(), torch.randn(2, 3)


@entry(
    {"R+ of each unit; a fixed shuffle of the hidden axis lies between": 5},
    [scaling(None, "inp.weight", "inp.bias", "out.weight", batch=None)],
)
def indexed_hidden() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.out = nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.inp(x).relu()[:, [3, 1, 4, 0, 2]])

    return Net(), torch.randn(2, 3)


@entry(
    {"R+ of each unit; stacked, permuted and viewed on the way": 4 + 4},
    [
        scaling(4, "a.weight", "a.bias", "out.weight"),
        scaling(4, "b.weight", "b.bias", "out.weight"),
        permutation(4, "a.weight", "a.bias", "out.weight"),
        permutation(4, "b.weight", "b.bias", "out.weight"),
    ],
)
def stacked_and_viewed() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.stack([self.a(x).relu(), self.b(x).relu()], dim=1)  # n, 2, 4
            return self.out(h.permute(0, 2, 1).reshape(-1, 8))

    return Net(), torch.randn(2, 3)


# --- radial, sums, masks ---


def radial(z: Tensor) -> Tensor:
    """f(|z|) z, equivariant under O"""
    return z * torch.tanh(z.pow(2).sum(-1, keepdim=True))


@entry(
    {"O of the hidden layer: 4 * 3 / 2": 6},
    [orthogonal(4, *HIDDEN)],
)
def radial_activation() -> Built:
    return two_layer(Lambda(radial), h=4)


@entry(
    {"O of the hidden layer": 6},
    [orthogonal(4, *HIDDEN)],
)
def radial_norm_function() -> Built:
    def squash(z: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return z * torch.exp(-r)

    return two_layer(Lambda(squash), h=4)


@entry(
    {"O of the hidden layer": 6, "R+ of the whole layer: z / |z| forgets the length": 1},
    [orthogonal(4, *HIDDEN), scaling(1, "0.weight", "0.bias")],
)
def radial_unit_vector() -> Built:
    return two_layer(Lambda(lambda z: z / z.norm(dim=-1, keepdim=True)), h=4)


@entry(
    {
        "R+ of the first layer": 6,
        "GL of the pooled code": 9,
        "translation of the pooled code": 3,
        "R+ of rho": 6,
    },
    [
        scaling(6, "phi.0.weight", "phi.0.bias", "phi.2.weight"),
        linear(3, "phi.2.weight", "phi.2.bias", "rho.0.weight"),
        translation("phi.2.bias", "rho.0.bias"),
        scaling(6, "rho.0.weight", "rho.0.bias", "rho.2.weight"),
    ],
    scale=4.5,
    seed=1,
)
def deep_sets() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.phi = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3))
            self.rho = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(0.3), nn.Linear(6, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.rho(self.phi(x).mean(1))

    return Net(), torch.randn(2, 4, 3)


@entry(
    {"R+ of each unit; the mask lies along the sequence": 5},
    [
        scaling(5, "inp.weight", "inp.bias", "out.weight"),
        permutation(5, "inp.weight", "inp.bias", "out.weight"),
    ],
)
def masked_mean() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.out = nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            h = self.inp(x).relu().masked_fill(~mask[..., None], 0.0)
            return self.out(h.sum(1) / mask.sum(1, keepdim=True))

    mask = torch.tensor([[True, True, False, True], [True, False, True, True]])
    return Net(), (torch.randn(2, 4, 3), mask)


# --- distances ---


class RBF(nn.Module):
    """sum_k a_k exp(-gamma_k |W x + b - c_k|^2)"""

    def __init__(self, cdist: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 3)
        self.centers = nn.Parameter(torch.randn(6, 3))
        self.gamma = nn.Parameter(torch.rand(6))
        self.out = nn.Linear(6, 5)
        self.cdist = cdist

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        if self.cdist:
            d2 = torch.cdist(z, self.centers) ** 2
        else:
            d2 = (z[:, None, :] - self.centers).pow(2).sum(-1)
        return self.out(torch.exp(-self.gamma * d2))


for _cdist in (False, True):
    entry(
        {
            "O of the embedding space: 3 * 2 / 2": 3,
            "translation of the embedding with the centers": 3,
            "R+: embedding and centers against the widths": 1,
        },
        [
            orthogonal(3, "embed.weight", "embed.bias", "centers"),
            translation("embed.bias", "centers"),
            permutation(6, "centers", "gamma", "out.weight"),
            scaling(1, "embed.weight", "embed.bias", "centers", "gamma"),
        ],
        scale=0.8,
        name="rbf_cdist" if _cdist else "rbf_handwritten",
    )(lambda cdist=_cdist: (RBF(cdist), torch.randn(2, 4)))


@entry({}, [permutation(6, "centers", "out.weight")], scale=0.8)
def rbf_on_raw_inputs() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centers = nn.Parameter(torch.randn(6, 3))
            self.out = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.exp(-((x[:, None] - self.centers) ** 2).sum(-1)))

    return Net(), torch.randn(2, 3)


class Siamese(nn.Module):
    def __init__(self, compare) -> None:  # noqa: ANN001
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3))
        self.compare = compare

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.compare(self.encoder(x), self.encoder(y))


ENCODER = ("encoder.2.weight", "encoder.2.bias")
ENCODER_HIDDEN = scaling(6, "encoder.0.weight", "encoder.0.bias", "encoder.2.weight")

entry(
    {"R+ of each hidden unit": 6, "O of the codes: their dot product": 3},
    [ENCODER_HIDDEN, orthogonal(3, *ENCODER)],
    name="siamese_dot",
)(lambda: (Siamese(lambda a, b: (a * b).sum(-1)), (torch.randn(2, 4), torch.randn(2, 4))))
entry(
    {"R+ of each hidden unit": 6, "O of the codes": 3, "R+ of the codes: cosine forgets lengths": 1},
    [ENCODER_HIDDEN, orthogonal(3, *ENCODER), scaling(1, "encoder.2.bias")],
    name="siamese_cosine",
)(lambda: (Siamese(lambda a, b: F.cosine_similarity(a, b, dim=-1)), (torch.randn(2, 4), torch.randn(2, 4))))
entry(
    {"R+ of each hidden unit": 6, "O of the codes": 3, "translation of the codes: it cancels": 3},
    [ENCODER_HIDDEN, orthogonal(3, *ENCODER), translation("encoder.2.bias")],
    name="siamese_distance",
)(lambda: (Siamese(lambda a, b: (a - b).pow(2).sum(-1)), (torch.randn(2, 4), torch.randn(2, 4))))


class SiameseHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head((self.encoder(x) - self.encoder(y)).abs())


@entry(
    {"R+ of each hidden unit": 6, "R+ of each code": 3, "translation of the codes: it cancels": 3},
    [
        ENCODER_HIDDEN,
        scaling(3, *ENCODER, "head.weight"),
        sign(3, *ENCODER),
        permutation(3, *ENCODER, "head.weight"),
        translation("encoder.2.bias"),
    ],
)
def siamese_absolute_difference() -> Built:
    return SiameseHead(), (torch.randn(2, 4), torch.randn(2, 4))


# --- embeddings ---


@entry(
    {"GL of the embedding space": 9, "its translation into the bias": 3, "R+ of each hidden unit": 5},
    [
        linear(3, "emb.weight", "a.weight"),
        translation("emb.weight", "a.bias"),
        scaling(5, "a.weight", "b.weight"),
    ],
    vocabulary=7,
)
def embedding_mlp() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.a, self.b = nn.Embedding(7, 3), nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(self.emb(x).mean(1)).relu())

    return Net(), torch.randint(7, (2, 4))


@entry(
    {"GL, even tied: the code of the head moves by g^-T": 9, "R+ of each hidden unit": 6},
    [linear(3, "emb.weight", "a.weight", "b.weight", "b.bias"), scaling(6, "a.weight", "a.bias", "b.weight")],
    vocabulary=7,
)
def embedding_tied() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.a, self.b = nn.Embedding(7, 3), nn.Linear(3, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.b(leaky(self.a(self.emb(x).sum(1))))
            return F.linear(h, self.emb.weight)

    return Net(), torch.randint(7, (2, 3))


@entry(
    {"O of the stream: reader and writer are the same matrix": 3, "R+ of each hidden unit": 6},
    [
        orthogonal(3, "emb.weight", "a.weight", "b.weight", "b.bias"),
        scaling(6, "a.weight", "a.bias", "b.weight"),
    ],
    vocabulary=20,
)
def embedding_tied_residual() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.a, self.b = nn.Embedding(20, 3), nn.Linear(3, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.emb(x)
            h = h + self.b(leaky(self.a(h))).mean(1, keepdim=True)
            return F.linear(h, self.emb.weight)

    return Net(), torch.randint(20, (2, 3))


@entry(
    {
        "GL of the embedding space": 9,
        "parallel absorption between tokens and positions": 3,
        "translation of both into the bias": 3,
        "R+ of each hidden unit": 6,
    },
    [
        linear(3, "tok_emb.weight", "pos_emb", "a.weight"),
        translation("tok_emb.weight", "pos_emb"),
        scaling(6, "a.weight", "a.bias", "b.weight"),
    ],
    vocabulary=7,
)
def embedding_token_position() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tok_emb, self.pos_emb = nn.Embedding(7, 3), nn.Parameter(torch.randn(4, 3))
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(leaky(self.a(self.tok_emb(x) + self.pos_emb)))

    return Net(), torch.randint(7, (2, 4))


@entry(
    {
        "R+ of each unit of the weight-normalized layer through g, not v": 5,
        "v is read by direction: R+ of each row": 5,
    },
    [
        scaling(5, "0.parametrizations.weight.original0", "0.bias", "2.weight"),
        scaling(5, "0.parametrizations.weight.original1"),
    ],
)
def weight_norm() -> Built:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(3, 5))
    return nn.Sequential(first, nn.ReLU(), nn.Linear(5, 4)), torch.randn(2, 3)


@entry(
    {
        "v is read by direction: R+ of each row of both layers": 5 + 4,
        "R+ common to all hidden units: g1 and the bias against g2": 1,
    },
    [
        scaling(None, "0.parametrizations.weight.original1"),
        scaling(None, "2.parametrizations.weight.original1"),
        permutation(5, "0.bias", "2.parametrizations.weight.original1"),
    ],
    beyond={"R+ of single units: columns of the second v, then g2 by the change of its row lengths": 4},
)
def weight_norm_both() -> Built:
    wn = nn.utils.parametrizations.weight_norm
    return nn.Sequential(wn(nn.Linear(3, 5)), nn.ReLU(), wn(nn.Linear(5, 4))), torch.randn(2, 3)


@entry(
    {"R+ of the modulated features against the factors": 5, "R+ after modulation, factors and offsets": 5},
    [
        scaling(5, "features.weight", "features.bias", "gamma.weight", "gamma.bias"),
        scaling(5, "beta.weight", "beta.bias", "out.weight"),
        sign(5, "features.weight", "features.bias", "gamma.weight", "gamma.bias"),
        permutation(5, "features.weight", "gamma.weight", "beta.weight", "out.weight"),
    ],
    beyond={"features.bias += t, the offsets -= t * the factors, row by row": 5},
)
def film() -> Built:
    """Feature-wise modulation by a condition: leaky(gamma(c) * h(x) + beta(c))."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.out = nn.Linear(3, 5), nn.Linear(5, 4)
            self.gamma, self.beta = nn.Linear(2, 5), nn.Linear(2, 5)

        def forward(self, x: Tensor, c: Tensor) -> Tensor:
            return self.out(leaky(self.gamma(c) * self.features(x) + self.beta(c)))

    return Net(), (torch.randn(2, 3), torch.randn(2, 2))


@entry(
    {"R+ of each hidden unit": 5, "temperature against the last layer": 1},
    [
        scaling(5, *(f"net.{slot}" for slot in HIDDEN)),
        scaling(1, "net.2.weight", "net.2.bias", "temperature"),
    ],
    seed=1,
)
def learned_temperature() -> Built:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.temperature = two_layer(nn.LeakyReLU(0.3))[0], nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.net(x) / self.temperature)

    return Net(), torch.randn(2, 3)


@entry(
    {"R+ of each hidden unit": 5, "the branch's factor against its last layer": 1},
    [
        scaling(5, *(f"branch.{slot}" for slot in HIDDEN)),
        scaling(1, "branch.2.weight", "branch.2.bias", "alpha"),
    ],
)
def rezero() -> Built:
    """x + alpha f(x) on a raw stream."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [nn.Linear(3, 5), nn.LeakyReLU(0.3), nn.Linear(5, 3)]
            self.branch, self.alpha = nn.Sequential(*layers), nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.alpha * self.branch(x)

    return Net(), torch.randn(2, 3)
