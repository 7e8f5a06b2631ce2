"""Recurrent networks: torch's own and hand-written cells. The state starts at zero."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo._entry import Built, entry, permutation, scaling, sign, translation


class Recurrent(nn.Module):
    def __init__(self, cell: nn.Module, width: int, *, last: bool = True) -> None:
        super().__init__()
        self.cell, self.out, self.last = cell, nn.Linear(width, 4), last

    def forward(self, x: Tensor) -> Tensor:
        with warnings.catch_warnings():  # oneDNN has no projected LSTM and says so
            warnings.simplefilter("ignore", UserWarning)
            y = self.cell(x)[0]
        return self.out(y[:, -1] if self.last else y)


def suffixed(*names: str, layer: str = "l0") -> tuple[str, ...]:
    return tuple(f"cell.{n}_{layer}" for n in names)


ALL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
X = (2, 4, 3)
H = 5

entry(
    {"b_ih against b_hh": H},
    [
        permutation(H, *suffixed(*ALL), "out.weight"),
        sign(H, *suffixed(*ALL), "out.weight"),
        translation(*suffixed("bias_ih", "bias_hh")),
    ],
    name="rnn_tanh",
)(lambda: (Recurrent(nn.RNN(3, H, batch_first=True), H), torch.randn(X)))
entry(
    {"R+ of each unit, W_hh by s_i / s_j": H, "b_ih against b_hh": H},
    [
        permutation(H, *suffixed(*ALL), "out.weight"),
        scaling(H, *suffixed(*ALL), "out.weight"),
        translation(*suffixed("bias_ih", "bias_hh")),
    ],
    name="rnn_relu",
)(lambda: (Recurrent(nn.RNN(3, H, nonlinearity="relu", batch_first=True), H), torch.randn(X)))
entry(
    {"b_ih against b_hh in the gates r and z; in n the gate r lies between them": 2 * H},
    [
        permutation(H, *suffixed(*ALL), "out.weight"),
        sign(H, *suffixed(*ALL), "out.weight"),
        translation(*suffixed("bias_ih", "bias_hh")),
    ],
    name="gru",
)(lambda: (Recurrent(nn.GRU(3, H, batch_first=True), H), torch.randn(X)))
entry(
    {"b_ih against b_hh in all four gates": 4 * H},
    [
        permutation(H, *suffixed(*ALL), "out.weight"),
        sign(H, *suffixed(*ALL), "out.weight"),
        translation(*suffixed("bias_ih", "bias_hh")),
    ],
    name="lstm",
)(lambda: (Recurrent(nn.LSTM(3, H, batch_first=True), H), torch.randn(X)))
entry(
    {},
    [permutation(H, *suffixed("weight_ih", "weight_hh"), "out.weight")],
    name="lstm_no_bias",
)(lambda: (Recurrent(nn.LSTM(3, H, batch_first=True, bias=False), H), torch.randn(X)))
entry(
    {"biases of both directions": 2 * 4 * 4},
    [
        permutation(4, *suffixed(*ALL), "out.weight"),
        permutation(4, *suffixed(*ALL, layer="l0_reverse"), "out.weight"),
        sign(4, *suffixed(*ALL), "out.weight"),
    ],
    name="lstm_bidirectional",
)(lambda: (Recurrent(nn.LSTM(3, 4, batch_first=True, bidirectional=True), 8, last=False), torch.randn(X)))
entry(
    {"biases of both layers": 2 * 4 * 4},
    [
        permutation(4, *suffixed(*ALL), *suffixed("weight_ih", layer="l1")),
        permutation(4, *suffixed(*ALL, layer="l1"), "out.weight"),
        sign(4, *suffixed(*ALL), *suffixed("weight_ih", layer="l1")),
    ],
    name="lstm_two_layers",
)(lambda: (Recurrent(nn.LSTM(3, 4, 2, batch_first=True), 4), torch.randn(X)))
entry(
    {"biases of both layers and directions": 4 * 2 * 4},
    [
        permutation(
            4, *suffixed(*ALL), *suffixed("weight_ih", layer="l1"), *suffixed("weight_ih", layer="l1_reverse")
        ),
        permutation(4, *suffixed(*ALL, layer="l1_reverse"), "out.weight"),
    ],
    name="gru_two_layers_bidirectional",
)(lambda: (Recurrent(nn.GRU(3, 4, 2, batch_first=True, bidirectional=True), 8, last=False), torch.randn(X)))
entry(
    {"b_ih against b_hh in all four gates": 4 * 5, "GL of the projected state is only seen linearly": 9},
    [permutation(5, *suffixed(*ALL[:1], *ALL[2:], "weight_hr"))],
    name="lstm_projected",
)(lambda: (Recurrent(nn.LSTM(3, 5, proj_size=3, batch_first=True), 3), torch.randn(X)))


class Elman(nn.Module):
    """h = f(W x + U h + b), step by step."""

    def __init__(self, activation) -> None:  # noqa: ANN001
        super().__init__()
        self.w, self.u, self.out = nn.Linear(3, H), nn.Linear(H, H, bias=False), nn.Linear(H, 4)
        self.f = activation

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), H)
        for step in x.unbind(1):
            h = self.f(self.w(step) + self.u(h))
        return self.out(h)


ELMAN = ("w.weight", "w.bias", "u.weight", "out.weight")
entry({}, [permutation(H, *ELMAN), sign(H, *ELMAN)], name="elman_tanh")(
    lambda: (Elman(torch.tanh), torch.randn(X))
)
entry({"R+ of each unit": H}, [permutation(H, *ELMAN), scaling(H, *ELMAN)], name="elman_leaky")(
    lambda: (Elman(F.leaky_relu), torch.randn(X))
)


class Cells(nn.Module):
    """nn.GRUCell or nn.LSTMCell, unrolled."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.out = cell, nn.Linear(H, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


for _name, _cell, _dimension in (
    ("rnn_cell", nn.RNNCell, H),
    ("gru_cell", nn.GRUCell, 2 * H),
    ("lstm_cell", nn.LSTMCell, 4 * H),
):
    entry(
        {"b_ih against b_hh where they are only added": _dimension},
        [
            permutation(H, *(f"cell.{n}" for n in ALL), "out.weight"),
            sign(H, *(f"cell.{n}" for n in ALL), "out.weight"),
            translation("cell.bias_ih", "cell.bias_hh"),
        ],
        name=_name,
    )(lambda cell=_cell: (Cells(cell(3, H)), torch.randn(X)))


class MinimalGRU(nn.Module):
    """One gate, one chunked projection, hand-written."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.out = nn.Linear(3, 2 * H), nn.Linear(H, 2 * H, bias=False), nn.Linear(H, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), H)
        for t in range(x.shape[1]):
            gate, candidate = (self.w(x[:, t]) + self.u(h)).chunk(2, dim=-1)
            gate = gate.sigmoid()
            h = gate * h + (1 - gate) * candidate.tanh()
        return self.out(h)


@entry({}, [permutation(H, *ELMAN), sign(H, *ELMAN)])
def minimal_gru() -> Built:
    return MinimalGRU(), torch.randn(X)


class LinearRecurrence(nn.Module):
    """h = A h + B x, y = C h: similarity transformations of the state, as in state-space models."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 3)), nn.Linear(4, 3, bias=False)
        self.c = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 3)
        for step in x.unbind(1):
            h = F.linear(h, self.a) + self.b(step)
        return self.c(h)


@entry({"GL of the state": 9}, [])
def state_space() -> Built:
    return LinearRecurrence(), torch.randn(2, 5, 4)


class DiagonalRecurrence(nn.Module):
    """h = a * h + B x, y = C h with one decay per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Parameter(torch.rand(3)), nn.Linear(4, 3, bias=False), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 3)
        for step in x.unbind(1):
            h = self.a.sigmoid() * h + self.b(step)
        return self.c(h)


@entry(
    {"R+ of each channel of the state": 3},
    [
        scaling(3, "b.weight", "c.weight"),
        sign(3, "b.weight", "c.weight"),
        permutation(3, "a", "b.weight", "c.weight"),
    ],
)
def state_space_diagonal() -> Built:
    return DiagonalRecurrence(), torch.randn(2, 5, 4)
