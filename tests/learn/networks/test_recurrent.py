"""The stack of cells against torch's own."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.testing import assert_close

from isoloss.learn.networks import Recurrent

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("rows", [(3,), (2, 5), ()])
@pytest.mark.parametrize("layers", [1, 3])
def test_it_is_torchs_lstm(rows, layers):
    network = Recurrent(4, 2, 6, layers, still=False).double()
    theirs = nn.LSTM(4, 6, layers).double()
    for i, cell in enumerate(network.cells):
        for name, p in cell.named_parameters():
            getattr(theirs, f"{name}_l{i}").data.copy_(p)
    x = torch.randn(7, *rows, 4, dtype=torch.float64)
    expected, (h, c) = theirs(x.reshape(7, -1, 4))
    state, outputs = network.start(rows), []
    for step in x:
        y, state = network(step, state)
        outputs.append(y)
    # Seven steps of three layers, sums of ten numbers of unit size.
    told = network.read(expected).reshape(7, *rows, 2)
    assert_close(torch.stack(outputs), told, rtol=0, atol=7 * 3 * 10 * EPS)
    for i in range(layers):
        assert_close(state[f"h{i}"].reshape(-1, 6), h[i], rtol=0, atol=7 * 3 * 10 * EPS)
        assert_close(state[f"c{i}"].reshape(-1, 6), c[i], rtol=0, atol=7 * 3 * 10 * EPS)


def test_a_still_network_says_nothing_at_first():
    x = torch.randn(5, 4)
    still, other = Recurrent(4, 2, 6, 2), Recurrent(4, 2, 6, 2, still=False)
    assert_close(still(x, still.start((5,)))[0], torch.zeros(5, 2), rtol=0, atol=0)
    assert (other(x, other.start((5,)))[0] != 0).all()


def test_many_parameters_at_once():
    """As evolution strategies run it."""
    network = Recurrent(4, 2, 6, 2, still=False).double()
    x, state = torch.randn(5, 4, dtype=torch.float64), network.start((5,))
    changed = {n: torch.stack([p, p + 0.1, 2 * p]).detach() for n, p in network.named_parameters()}
    together = vmap(lambda p: functional_call(network, p, (x, state))[0])(changed)
    for i in range(3):
        alone = functional_call(network, {n: p[i] for n, p in changed.items()}, (x, state))[0]
        assert_close(together[i], alone, rtol=0, atol=100 * EPS)
