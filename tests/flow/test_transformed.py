"""Q_M(g theta) = Q_{g^T M g}(theta), and what it does not say."""

import pytest
import torch
from torch.testing import assert_close

from isoloss import flow
from isoloss.groups import Affine, ComplexScaling, GeneralLinear, PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetry
from networks import (
    Attention,
    ConvNet,
    Rotary,
    attention_symmetries,
    conv_symmetries,
    linear_symmetries,
    mlp,
    rotary_symmetries,
)

CASES = {
    "GL": lambda: (m := mlp(4, 5, 3).double(), linear_symmetries(m)),
    "scalings": lambda: (m := ConvNet().double(), conv_symmetries(m)),
    "heads": lambda: (m := Attention().double(), attention_symmetries(m)),
    "rotary": lambda: (m := Rotary().double(), rotary_symmetries(m)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_form_of_the_moved_generator_here_is_that_of_the_generator_there(name):
    model, symmetries = CASES[name]()
    tensors = {n: p.detach() for n, p in model.named_parameters()}
    for symmetry in symmetries:
        quantity = flow.Quantity("q", symmetry)
        g = symmetry.sample(0.5, dtype=torch.float64)
        m = symmetry.group.symmetric(torch.randn(quantity.shape, dtype=torch.float64))
        there = quantity.value(tensors | symmetry.act(g, tensors))
        assert_close(flow.transformed(symmetry, g, m, tensors), (there * m).sum())


def test_the_moved_generator_is_none_of_the_group_in_general():
    """Footnote 8 says that g^T M g lies in the algebra in the examples considered. Two pairs refute it.

    Both have v v - u u = 0, so that every quantity of the group is equal, and differ by one at the moved point.
    """
    pair = (Slot("v", Block.whole((1,)), (0,)), Slot("u", Block.whole((1,)), (0,), -1))
    for group, g in ((PositiveScaling(1), torch.tensor([2.0])), (GeneralLinear(1), torch.tensor([[2.0]]))):
        symmetry = Symmetry(group, pair)
        quantity, values = flow.Quantity("q", symmetry), []
        for size in (1.0, 2.0):
            tensors = {"v": torch.full((1,), size), "u": torch.full((1,), size)}
            assert quantity.value(tensors).item() == 0.0
            values.append(quantity.value(symmetry.act(g, tensors)).item())
        assert values == [3.75, 15.0]  # 4 v v - u u / 4


def test_rotations_turn_it():
    """Where g is orthogonal the footnote is right: Q(g theta) = g Q g^T."""
    model = mlp(4, 5, 3).double()
    (symmetry,) = linear_symmetries(model)
    quantity, tensors = flow.Quantity("q", symmetry), {n: p.detach() for n, p in model.named_parameters()}
    g = torch.linalg.qr(torch.randn(5, 5).double()).Q
    there = quantity.value(tensors | symmetry.act(g, tensors))
    assert_close(there, g @ quantity.value(tensors) @ g.mT)
    model = Rotary().double()
    (symmetry,) = rotary_symmetries(model)
    quantity, tensors = flow.Quantity("q", symmetry), dict(model.named_parameters())
    g = ComplexScaling(4).exp(torch.stack([torch.zeros(4), torch.randn(4)], -1).double())
    assert_close(quantity.value(tensors | symmetry.act(g, tensors)), quantity.value(tensors))


def test_actions_that_are_not_linear_are_refused():
    symmetry = Symmetry(Affine(2), (Slot("w", Block.whole((2,)), (0,)),))
    with pytest.raises(ValueError, match=r"action must be linear; got Aff\(2\)"):
        flow.transformed(symmetry, symmetry.identity(), symmetry.identity(), {"w": torch.ones(2)})
