import pytest
import torch
from torch import nn

from dependent.nets import convolutional, perceptron, symmetries_of
from isoloss import find
from isoloss.dependent import pairs


def names(model, x=None):
    found = pairs(symmetries_of(model) if x is None else find(model, x))
    return [(p.producer.name, p.reader.name, p.width) for p in found]


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.Tanh, nn.GELU], ids=lambda a: a.__name__)
@pytest.mark.parametrize("bias", [True, False])
def test_all_hidden_layers_of_a_perceptron_in_order(activation, bias):
    model = perceptron(5, 7, 6, 4, 3, activation=activation, bias=bias)
    assert names(model) == [("0", "2", 7), ("2", "4", 6), ("4", "6", 4)]


def test_convolutions_pooling_and_flattening():
    assert names(convolutional()) == [("0", "3", 4), ("3", "6", 5), ("6", "8", 6)]


def test_without_an_activation_the_linear_group_shows_the_pair():
    assert names(perceptron(5, 7, 3, activation=nn.Identity)) == [("0", "2", 7)]


def test_parameters_are_all_that_an_action_may_move():
    model = perceptron(5, 7, 3)
    (pair,) = pairs(symmetries_of(model))
    assert pair.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = perceptron(4, 6, 4)
        self.last = nn.Linear(4, 2).double()
        self.first = nn.Linear(3, 4).double()

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.inner(x))


def test_units_that_something_else_uses_are_no_pair():
    assert names(Residual(), torch.randn(2, 3)) == [("inner.0", "inner.2", 6)]
    normed = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="needs two adjacent"):
        pairs(find(normed, torch.randn(5, 3)))
    grouped = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    with pytest.raises(ValueError, match="needs two adjacent"):
        pairs(find(grouped, torch.randn(1, 2, 8, 8)))
