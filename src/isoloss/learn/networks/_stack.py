"""LSTM cells on very many rows: one node of the graph a step, which keeps the memory and nothing else."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BLOCK = 4096
"""Rows worked on at a time on a CPU, so that their gates stay in its cache."""


class Stack(torch.autograd.Function):
    """Cells one above the other and a linear layer, everything with the rows last.

    The backward pass computes the gates again, which costs less than to write them to memory and to read them.
    Second derivatives are those of the operations one by one. Not for `torch.func`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, read: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Outputs (outputs, rows), then h and c of every cell, (hidden, rows).

        Args:
            ctx: Of torch.
            x: Features, (inputs, rows).
            read: Weights of the linear layer, its bias the last column.
            rest: For every cell its weights (4 hidden, inputs + hidden + 1): those on the input, those on h, the sum
                of the biases; then h and c of every cell.
        """
        weights, memory = rest[: len(rest) // 3], rest[len(rest) // 3 :]
        y = x.new_empty(len(read), x.shape[1])
        new = [torch.empty_like(m) for m in memory]
        for rows in _blocks(x):
            shown = x[:, rows]
            for w, h, c, h_new, c_new in zip(
                weights, memory[::2], memory[1::2], new[::2], new[1::2], strict=True
            ):
                enter, forget, candidate, leave = _gates(w, _joined(shown, h[:, rows])).chunk(4)
                c_now, shown = c_new[:, rows], h_new[:, rows]
                torch.mul(forget, c[:, rows], out=c_now).addcmul_(enter, candidate)
                torch.tanh(c_now, out=shown).mul_(leave)
            torch.addmm(read[:, -1:], read[:, :-1], shown, out=y[:, rows])
        ctx.save_for_backward(x, read, *rest, *new)
        return y, *new

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *above: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Slopes of everything that `forward` reads."""
        x, read, *rest = ctx.saved_tensors
        cells = len(rest) // 5
        if torch.is_grad_enabled():  # someone asks for the graph of the slopes
            return _differentiable((x, read, *rest[: 3 * cells]), (dy, *above))
        weights, memory, new = rest[:cells], rest[cells : 3 * cells], rest[3 * cells :]
        d_read, d_weights = torch.zeros_like(read), [torch.zeros_like(w) for w in weights]
        d_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        d_memory = [torch.empty_like(m) for m in memory]
        for rows in _blocks(x):
            top = new[-2][:, rows]
            d_read.addmm_(dy[:, rows], _joined(top).mT)
            passed = read[:, :-1].mT @ dy[:, rows]
            for i in reversed(range(cells)):
                w, h, c = weights[i], memory[2 * i][:, rows], memory[2 * i + 1][:, rows]
                shown = new[2 * i - 2][:, rows] if i else x[:, rows]
                z = _joined(shown, h)
                slopes, d_c = _slopes(
                    _gates(w, z), c, new[2 * i + 1][:, rows],
                    passed.add_(above[2 * i][:, rows]), above[2 * i + 1][:, rows],
                )  # fmt: skip
                d_weights[i].addmm_(slopes, z.mT)
                d_memory[2 * i + 1][:, rows] = d_c
                inputs = len(shown)
                torch.mm(w[:, inputs:-1].mT, slopes, out=d_memory[2 * i][:, rows])
                if i:
                    passed = w[:, :inputs].mT @ slopes
                elif d_x is not None:
                    torch.mm(w[:, :inputs].mT, slopes, out=d_x[:, rows])
        return d_x, d_read, *d_weights, *d_memory


def _differentiable(inputs: Sequence[Tensor], above: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    # Of new views, so that what the inputs were computed from does not count.
    seen = [t.view_as(t) for t in inputs]
    asked = [t for t in seen if t.requires_grad]
    found = iter(torch.autograd.grad(_one_by_one(*seen), asked, above, create_graph=True, allow_unused=True))
    return tuple(next(found) if t.requires_grad else None for t in seen)


def _one_by_one(x: Tensor, read: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    weights, memory = rest[: len(rest) // 3], rest[len(rest) // 3 :]
    new = []
    for w, h, c in zip(weights, memory[::2], memory[1::2], strict=True):
        enter, forget, candidate, leave = (w @ _joined(x, h)).chunk(4)
        c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
        x = leave.sigmoid() * c.tanh()
        new += [x, c]
    return read @ _joined(x), *new


def _blocks(x: Tensor) -> Iterator[slice]:
    rows = x.shape[1]
    block = BLOCK if x.device.type == "cpu" else rows
    return (slice(i, i + block) for i in range(0, rows, block))


def _joined(*parts: Tensor) -> Tensor:
    """One above the other, and ones below, for the bias."""
    return torch.cat([*parts, parts[0].new_ones(1, 1).expand(1, parts[0].shape[1])])


def _gates(w: Tensor, z: Tensor) -> Tensor:
    """Enter, forget, candidate, leave: (4 hidden, rows)."""
    gates = w @ z
    hidden = len(gates) // 4
    gates[: 2 * hidden].sigmoid_()
    gates[2 * hidden : 3 * hidden].tanh_()
    gates[3 * hidden :].sigmoid_()
    return gates


def _slopes(gates: Tensor, c: Tensor, c_new: Tensor, d_h: Tensor, d_c: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the gates before their activations, (4 hidden, rows), and that of c."""
    enter, forget, candidate, leave = gates.chunk(4)
    hidden, seen = len(c), c_new.tanh()
    d_c = torch.ops.aten.tanh_backward(d_h * leave, seen).add_(d_c)
    slopes = torch.empty_like(gates)
    before = slopes.chunk(4)
    for out, one, other in zip(before, (d_c, d_c, d_c, d_h), (candidate, c, enter, seen), strict=True):
        torch.mul(one, other, out=out)
    sigmoid, tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
    for part in (slice(2 * hidden), slice(3 * hidden, None)):
        sigmoid.grad_input(slopes[part], gates[part], grad_input=slopes[part])
    tanh.grad_input(before[2], candidate, grad_input=before[2])
    return slopes, d_c.mul_(forget)
