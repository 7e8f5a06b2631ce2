"""Tensors that share memory: what moves one moves the other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from isoloss.finding import find

X = torch.linspace(-1, 1, 6).reshape(2, 3)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))


class Seen(nn.Module):
    """A hidden layer whose weight is also seen through something else."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.body = mlp()
        view = self.body[0].weight.detach()[:, :2]
        if how == "buffer":
            self.register_buffer("kept", view)
        else:
            self.kept = view if how == "attribute" else [view]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.kept[0] if isinstance(self.kept, list) else self.kept
        return self.body(x), F.linear(x[:, :2], kept)


@pytest.mark.parametrize("how", ["attribute", "list", "buffer"])
def test_a_view_of_a_parameter_holds_it(how):
    """Or is refused; never is the function changed."""
    model = Seen(how)
    try:
        found = find(model, X)
    except ValueError as error:
        assert "share memory" in str(error)
        return
    before = model(X)
    found.act_(found.sample())
    for old, new in zip(before, model(X), strict=True):
        torch.testing.assert_close(new, old)


def test_parameters_side_by_side_in_one_vector():
    """As vector_to_parameters leaves them: one storage, and no two entries in one place."""
    model = mlp()
    vector_to_parameters(parameters_to_vector(model.parameters()).detach().clone(), model.parameters())
    found = find(model, X, verify="full")
    assert sorted(s.name for s in found) == ["R+^5", "S_5"]
    before = model(X)
    found.act_(found.sample())
    torch.testing.assert_close(model(X), before)


def test_one_parameter_in_two_modules_is_tied():
    """It moves once, under its first name, for both."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(3, 5), nn.Linear(5, 3)
            self.decode.weight = nn.Parameter(torch.zeros(3, 5))
            self.again = nn.Linear(3, 5)
            self.again.weight = self.encode.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.decode(F.gelu(self.encode(x)) + F.gelu(self.again(x)))

    model = Tied()
    with torch.no_grad():
        model.decode.weight.normal_()
    found = find(model, X, verify="full")
    (permutation,) = [s for s in found if s.name == "S_5"]
    assert set(permutation.parameters) == {"encode.weight", "encode.bias", "again.bias", "decode.weight"}
    before = model(X)
    found.act_(found.sample())
    torch.testing.assert_close(model(X), before)
    assert model.again.weight is model.encode.weight


def test_weights_that_a_recurrent_module_keeps_flat():
    """nn.LSTM holds its parameters a second time, in a list."""
    model = nn.LSTM(3, 4)
    found = find(model, X[None])
    flat = [w.data_ptr() for w in model._flat_weights]
    found.act_(found.sample())
    assert [w.data_ptr() for w in model._flat_weights] == flat == [p.data_ptr() for p in model.parameters()]
