"""A stack of LSTM cells whose memory is handed in and out, so that it runs under `torch.func`."""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from isoloss.learn._state import State
from isoloss.learn.networks._stack import Stack

MANY = 2048
"""Rows from which on one node of the graph for all operations costs less than one for each."""


class Recurrent(nn.Module):
    """LSTM cells one above the other, and a linear layer on top.

    Args:
        inputs: Number of features.
        outputs: Number of outputs.
        hidden: Units of every cell.
        layers: Number of cells.
        still: Start the linear layer at zero, so that an untrained network outputs zeros.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int, still: bool = True):
        super().__init__()
        self.hidden, self.layers = hidden, layers
        sizes = [inputs, *[hidden] * (layers - 1)]
        self.cells = nn.ModuleList(nn.LSTMCell(size, hidden) for size in sizes)
        self.read = nn.Linear(hidden, outputs)
        if still:
            nn.init.zeros_(self.read.weight)
            nn.init.zeros_(self.read.bias)

    def start(self, rows: tuple[int, ...]) -> State:
        """An empty memory, of shape (*rows, hidden) per cell."""
        zeros = self.read.weight.new_zeros(*rows, self.hidden)
        return {f"{kind}{i}": zeros for i in range(self.layers) for kind in ("h", "c")}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Outputs (*rows, outputs) from features (*rows, inputs), and the new memory."""
        many = prod(x.shape[:-1]) >= MANY and not torch._C._are_functorch_transforms_active()
        return self._together(x, state) if many else self._plain(x, state)

    def _plain(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        kept: State = {}
        for i, cell in enumerate(self.cells):
            assert isinstance(cell, nn.LSTMCell)
            h, c = state[f"h{i}"], state[f"c{i}"]
            gates = linear(x, cell.weight_ih, cell.bias_ih) + linear(h, cell.weight_hh, cell.bias_hh)
            enter, forget, candidate, leave = gates.chunk(4, -1)
            c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
            x = leave.sigmoid() * c.tanh()
            kept |= {f"h{i}": x, f"c{i}": c}
        return self.read(x), kept

    def _together(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        rows, names = x.shape[:-1], [f"{kind}{i}" for i in range(self.layers) for kind in ("h", "c")]
        weights = []
        for cell in self.cells:
            assert isinstance(cell, nn.LSTMCell)
            bias = (cell.bias_ih + cell.bias_hh)[:, None]
            weights.append(torch.cat([cell.weight_ih, cell.weight_hh, bias], 1))
        read = torch.cat([self.read.weight, self.read.bias[:, None]], 1)
        # What is stored with the rows last, as Stack does, is not copied.
        memory = [state[name].flatten(0, -2).mT for name in names]
        y, *new = Stack.apply(x.flatten(0, -2).mT, read, *weights, *memory)
        kept = {name: m.mT.unflatten(0, rows) for name, m in zip(names, new, strict=True)}
        return y.mT.unflatten(0, rows), kept
