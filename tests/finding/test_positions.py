"""Outputs that are indices: they name positions, so nothing may move along the axis that they name."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.finding import find

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A function of a hidden layer (4, 6); its units may be exchanged if the function lets them."""

    def __init__(self, f: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 5)
            self.table = nn.Parameter(torch.randn(7, 6))
        self.f = f

    def forward(self, x: Tensor):
        return self.f(self, torch.sigmoid(self.a(x)))


def proposed(f: Callable[[Net, Tensor], Tensor]) -> set[str]:
    """Before verification, which would hide a wrong proposal."""
    found = find(Net(f), X, verify=False)
    return {s.name for s in found if "a.weight" in s.parameters and s.family == "permutation"}


NAMED = {
    "argmax": lambda net, h: h.argmax(-1),
    "argmin": lambda net, h: h.argmin(-1, keepdim=True),
    "argmax of all": lambda net, h: h.argmax(),
    "argsort": lambda net, h: h.argsort(-1),
    "sort": lambda net, h: h.sort(-1).indices,
    "topk": lambda net, h: h.topk(2).indices,
    "max": lambda net, h: h.max(-1).indices,
    "min": lambda net, h: h.min(1)[1],
    "median": lambda net, h: h.median(-1).indices,
    "both": lambda net, h: h.max(-1),
    "max pooling": lambda net, h: F.max_pool1d(h[:, None], 2, return_indices=True)[1],
    "of every unit": lambda net, h: h.argmax(0),
    "looked up": lambda net, h: net.table[h.argmax(-1)].sum(-1),
    "looked up for every unit": lambda net, h: net.table[:, 0][h.argmax(0)],
    "embedded for every unit": lambda net, h: F.embedding(h.argmax(0), net.table[:, :2]),
    "gathered": lambda net, h: net.table.gather(0, h.argmax(0, keepdim=True)),
}
FREE = {
    "max": lambda net, h: h.max(-1).values,
    "sort": lambda net, h: h.sort(-1).values,
    "topk": lambda net, h: h.topk(2).values,
    "argmax of what follows": lambda net, h: net.b(h).argmax(-1),
    "of every unit, then a sum": lambda net, h: h.argmax(0).double().sum(),
    "indices of pooling, then a sum": lambda net, h: (
        F.max_pool2d(h.T[None, :, None], (1, 2), return_indices=True)[1].double().sum(1)
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_positions_hold_the_axis_that_they_name(name):
    assert proposed(NAMED[name]) == set()


@pytest.mark.parametrize("name", FREE)
def test_where_no_position_is_named_units_may_be_exchanged(name):
    assert proposed(FREE[name]) == {"S_6"}
    found = find(Net(FREE[name]), X)
    assert "S_6" in {s.name for s in found}
    assert not [n for n in found.notes if "it is not a symmetry here" in n]


@pytest.mark.parametrize("f", [torch.argmax, lambda x, dim: x.max(dim).indices], ids=["argmax", "max"])
def test_only_a_common_scale_leaves_the_largest_where_it_is(f):
    """One number for all units that are compared, none for each."""
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), Largest(f))
    found = find(net, X, verify=False)
    assert [(s.name, s.dim) for s in found] == [("R+^1", 1)]
    assert [s.name for s in find(net, X)] == ["R+^1"]


class Largest(nn.Module):
    def __init__(self, f: Callable) -> None:
        super().__init__()
        self.f = lambda x: f(x, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)
