"""Numbers that leave for NumPy or lists and come back: the tape must know, or what follows would seem constant."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isoloss.finding import find

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Outside(nn.Module):
    """A submodule that computes without ops."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def net(f: Callable[[Tensor], Tensor]) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.Sequential(Outside(f)), nn.Linear(6, 4)
        )


EXITS = {
    "numpy": lambda x: torch.from_numpy(np.tanh(x.detach().numpy())),
    "asarray": lambda x: torch.from_numpy(np.tanh(np.asarray(x.detach()))),
    "array": lambda x: torch.from_numpy(np.array(x.detach(), copy=True)),
    "a function of NumPy": lambda x: torch.as_tensor(np.tanh(x.detach())),
    "cpu": lambda x: torch.tensor(x.detach().cpu().numpy()),
    "tolist": lambda x: torch.tensor(x.tolist(), dtype=x.dtype),
    "a list of tensors": lambda x: x * torch.tensor([x[0, 0], x[0, 1] ** 2]).sum(),
    "as_tensor": lambda x: x * torch.as_tensor([x[0, 0]]),
    "asarray of tensors": lambda x: x * torch.asarray([x[0, 0]]),
    "new_tensor": lambda x: x * x.new_tensor([x[0, 0]]),
    "dlpack": lambda x: torch.from_numpy(np.from_dlpack(x.detach()).copy()),
    "deepcopy": lambda x: copy.deepcopy(x.detach()).sin(),
}


# They read single numbers; the other units may move.
SOME = {"a list of tensors", "as_tensor", "asarray of tensors", "new_tensor"}


# NumPy has asked for other signatures of __array__ and __array_wrap__ since its version 2.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", EXITS)
def test_what_leaves_the_tape_is_refused(name):
    """As a branch is; the message names the module."""
    with pytest.raises(ValueError, match=r"reads such a value, 3\.0; pass branches='follow'"):
        find(net(EXITS[name]), X)


# NumPy has asked for other signatures of __array__ and __array_wrap__ since its version 2.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", EXITS)
def test_or_held_fixed(name):
    """What was read stays as it is, what comes before may move, and nothing is proposed that fails."""
    found = find(net(EXITS[name]), X, branches="follow")
    assert {s.name for s in found if "0.weight" in s.parameters} == {"R+^5", "S_5"}
    assert not [n for n in found.notes if "it is not a symmetry here" in n]
    rows = {s.name for s in found if "2.weight" in s.parameters and "0.weight" not in s.parameters}
    assert not rows or name in SOME
    assert not {"R+^6", "S_6"} & rows


def test_inputs_may_leave():
    """Nothing moves them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = net(torch.tanh)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(torch.from_numpy(np.sin(x.numpy()))) * len(x.tolist())

    assert {"R+^5", "S_5", "S_6"} <= {s.name for s in find(Net(), X)}


def test_copies_of_one_tensor_are_ops():
    """torch.tensor of a tensor stays on the tape."""
    with pytest.warns(UserWarning, match="To copy construct"):
        found = find(net(lambda x: torch.tensor(x).tanh()), X)
    assert {"R+^5", "S_5", "S_6"} <= {s.name for s in found}


def test_a_tensor_that_shows_the_memory_of_another():
    """nn.Parameter of an intermediate runs no op: no rule knows it, so what it shows stays put."""
    found = find(net(lambda x: nn.Parameter(x.detach(), requires_grad=False).tanh()), X)
    assert {s.name for s in found} == {"R+^5", "S_5"}
    assert found.notes == ("a view that no op made in 3.0: it has no rule; what it reads stays put",)
