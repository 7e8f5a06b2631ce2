"""Positive scalings: exact with powers of two, and what does not belong."""

from fractions import Fraction

import pytest
import torch

from isoloss.groups import PositiveScaling
from laws import assert_equal

group = PositiveScaling(8)


def powers_of_two(*shape):
    return 2.0 ** torch.randint(-3, 4, shape)


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape, group.own) == ("R+^8", 8, (8,), 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("charge", [1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2)], ids=str)
def test_powers_of_two_do_not_round(dtype, charge):
    """There and back again is the identity bit for bit; powers of four have roots, and no float16 underflows."""
    g, x = (4.0 ** torch.randint(-1, 2, (8,))).to(dtype), (1 + torch.rand(5, 8)).to(dtype)
    assert_equal(group.act(group.inverse(g), group.act(g, x, charge), charge), x)
    assert_equal(group.compose(g, group.inverse(g)), group.identity(dtype=dtype))


def test_relu_network_is_exactly_unchanged():
    """Dissertation Example 1.2.4 with alpha = 1, on integers and powers of two."""
    w1, w2, x = (torch.randint(-8, 9, s).float() for s in ((8, 5), (3, 8), (5, 16)))
    g = powers_of_two(8)
    w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -1)
    assert not torch.equal(w1_moved, w1)
    assert_equal(w2_moved @ (w1_moved @ x).relu(), w2 @ (w1 @ x).relu())


def test_squared_relu_network_takes_charge_minus_two():
    """Dissertation Example 1.2.4 with alpha = 2."""
    w1, w2, x = (torch.randint(-8, 9, s).float() for s in ((8, 5), (3, 8), (5, 16)))
    g = powers_of_two(8)
    w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -2)
    assert_equal(w2_moved @ (w1_moved @ x).relu() ** 2, w2 @ (w1 @ x).relu() ** 2)


def test_action_is_that_of_the_diagonal_matrix():
    g, x = group.sample(dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    torch.testing.assert_close(group.act(g, x), torch.diag(g) @ x)
    torch.testing.assert_close(group.act(g, x, -1), torch.linalg.inv(torch.diag(g)) @ x)


@pytest.mark.parametrize(
    "outsider",
    [
        -torch.ones(8),
        torch.tensor([0.0] + [1.0] * 7),
        torch.full((8,), torch.inf),
        torch.full((8,), torch.nan),
        torch.ones(7),
        torch.ones(8, dtype=torch.int64),
        torch.ones(()),
    ],
    ids=["negative", "zero", "inf", "nan", "size", "integers", "scalar"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)
    with pytest.raises(ValueError, match=r"R\+\^8.log: g must be an element of the group; got"):
        group.log(outsider)


def test_one_outsider_in_a_batch_is_enough():
    batch = torch.ones(3, 8)
    batch[1, 4] = 0
    assert not group.contains(batch)


def test_tolerance_keeps_factors_away_from_zero():
    assert group.contains(torch.full((8,), 1e-6))
    assert not group.contains(torch.full((8,), 1e-6), tolerance=1e-3)
