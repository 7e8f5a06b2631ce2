"""The exact symmetries that can teleport a module."""

import torch
from torch import nn

from isoloss.learn.tasks import exact_actions


def groups(module, inputs):
    return [(action.group.name, action.parameters) for action in exact_actions(module, inputs)]


def test_scalings_are_found_and_permutations_are_left_out():
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    assert groups(module, torch.randn(4, 3)) == [("R+^5", ("0.weight", "0.bias", "2.weight"))]


def test_what_does_not_change_gradients_is_left_out():
    """The columns of a layer below a softmax may be translated: the gradient does not notice."""
    assert groups(nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(1)), torch.randn(4, 3)) == []


def test_frozen_weights_stay():
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    module[0].requires_grad_(False)
    assert groups(module, torch.randn(4, 3)) == []


def test_linear_layers_give_the_general_linear_group():
    module = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False))
    assert groups(module, torch.randn(4, 3)) == [("GL(5)", ("0.weight", "1.weight"))]
