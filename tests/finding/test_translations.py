"""Translations at points where gradients carry no digits."""

import pytest
import torch
from torch import nn

import isoloss


@pytest.mark.parametrize("shift", [0.0, 30.0, 1e3])
def test_a_saturated_softmax_hides_no_translation_and_invents_none(shift):
    """A bias of 1e3 makes a random point a one-hot output: gradients of 1e-37 are the rounding of what cancels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1)).double()
    with torch.no_grad():
        model[0].bias += shift
    symmetries = isoloss.find(model, torch.randn(7, 8).double())
    assert {(s.parameters, s.group.n, len(s.slots)) for s in symmetries} == {
        (("0.weight",), 8, 1),
        (("0.bias",), 1, 1),
    }
    assert all(s.linear for s in symmetries)
