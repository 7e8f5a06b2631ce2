"""Cells on many rows in one node against cells one by one, and against nn.LSTMCell."""

import pytest
import torch
from torch.func import functional_call, vmap
from torch.testing import assert_close

from isoloss.learn.networks import Recurrent
from isoloss.learn.networks._recurrent import MANY
from isoloss.learn.networks._stack import BLOCK

ROWS = (3, BLOCK // 2)  # more than a block, and no multiple of it


@pytest.fixture
def network():
    return Recurrent(5, 2, 4, 2, still=False).double()


def inputs(rows):
    memory = {name: torch.randn(*rows, 4, dtype=torch.float64) for name in ("h0", "c0", "h1", "c1")}
    return torch.randn(*rows, 5, dtype=torch.float64), memory


def cells(network, x, memory):
    """As torch has them."""
    kept = {}
    for i, cell in enumerate(network.cells):
        h, c = cell(x.flatten(0, -2), (memory[f"h{i}"].flatten(0, -2), memory[f"c{i}"].flatten(0, -2)))
        rows = x.shape[:-1]
        x, c = h.unflatten(0, rows), c.unflatten(0, rows)
        kept |= {f"h{i}": x, f"c{i}": c}
    return network.read(x), kept


def run(step, x, memory, steps=3):
    outputs = []
    for _ in range(steps):
        y, memory = step(x, memory)
        outputs.append(y)
    return torch.stack(outputs), memory


@pytest.mark.parametrize("rows", [ROWS, (MANY,), (2, 3)], ids=str)
def test_a_network_is_cells_of_torch_one_above_the_other(network, rows):
    x, memory = inputs(rows)
    y, kept = run(network, x, memory)
    expected, memory = run(lambda x, m: cells(network, x, m), x, memory)
    assert_close(y, expected)
    for name, value in memory.items():
        assert kept[name].shape == (*rows, 4)
        assert_close(kept[name], value)


@pytest.mark.parametrize("rows", [ROWS, (2, 3)], ids=str)
def test_slopes_are_those_of_cells_of_torch(network, rows):
    """Of the features, the memory and all parameters, through outputs and memory of several steps."""
    x, memory = inputs(rows)
    leaves = [x, *memory.values()]
    for leaf in leaves:
        leaf.requires_grad_()
    leaves += list(network.parameters())

    def slopes(step):
        y, kept = run(step, x, memory)
        total = y.sin().sum() + sum(m.square().sum() for m in kept.values())
        return torch.autograd.grad(total, leaves)

    found, expected = slopes(network), slopes(lambda x, m: cells(network, x, m))
    for mine, its in zip(found, expected, strict=True):
        # Sums over up to 6144 rows, in another order.
        assert_close(mine, its, rtol=1e-10, atol=1e-10 * float(its.abs().max()))


def test_features_without_slopes_and_outputs_that_nobody_reads(network):
    x, memory = inputs(ROWS)
    _, kept = network(x, memory)
    kept["c0"].sum().backward()
    below, above = (cell.weight_ih.grad for cell in network.cells)
    assert below.any()
    assert not above.any()
    assert x.grad is None


def test_many_networks_at_once(network):
    """Evolution strategies change all parameters of many copies, under vmap."""
    x, memory = inputs(ROWS)
    named = dict(network.named_parameters())
    several = {name: torch.stack([p, 2 * p]).detach() for name, p in named.items()}
    y, _ = vmap(lambda p: functional_call(network, p, (x, memory)))(several)
    assert_close(y[0], network(x, memory)[0])


def test_second_derivatives(network):
    x, memory = inputs(ROWS)
    x.requires_grad_()
    leaves = [x, *network.parameters()]

    def curvature(step):
        y, _ = run(step, x, memory, steps=2)
        slopes = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        total = torch.stack([s.square().sum() for s in slopes]).sum()
        return torch.autograd.grad(total, leaves)

    found, expected = curvature(network), curvature(lambda x, m: cells(network, x, m))
    for mine, its in zip(found, expected, strict=True):
        # Of sums over 6144 rows, in another order.
        assert_close(mine, its, rtol=1e-10, atol=1e-10 * float(its.abs().max()))
