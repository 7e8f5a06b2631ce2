"""Signs are exact."""

from fractions import Fraction

import pytest
import torch

from isoloss.groups import SignFlip
from laws import assert_equal

group = SignFlip(8)


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape, group.algebra_shape) == ("Z2^8", 0, (8,), (0,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_flips_by_odd_charges_only(dtype):
    g, x = group.sample((), dtype=dtype), torch.randn(3, 8).to(dtype)
    for charge in (1, -1, 3, Fraction(-5), 1.0):
        assert_equal(group.act(g, x, charge), g * x)
    for charge in (0, 2, -4, Fraction(6)):
        assert_equal(group.act(g, x, charge), x)


def test_every_element_is_its_own_inverse():
    g, x = group.sample((4,)), torch.randn(4, 3, 8)
    assert_equal(group.act(g, group.act(g, x)), x)
    assert_equal(group.compose(g, g), group.identity((4,)))


def test_tanh_network_is_exactly_unchanged():
    """Dissertation Example 1.2.5: tanh is odd to the last bit. Integer weights keep the sums exact in float64."""
    w1, x = torch.randint(-8, 9, (8, 5)).double(), torch.randn(5, 16, dtype=torch.float64)
    w2 = torch.randn(3, 8, dtype=torch.float64)
    g = group.sample(dtype=torch.float64)
    w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -1)
    assert not torch.equal(w1_moved, w1)
    hidden, hidden_moved = (w1 @ x).tanh(), (w1_moved @ x).tanh()
    assert_equal(hidden_moved, g[:, None] * hidden)
    assert_equal(w2_moved[:, :, None] * hidden_moved, w2[:, :, None] * hidden)  # the terms of the sums


def test_both_signs_are_drawn_fairly():
    """Of 40,000 coins the mean has a standard deviation of 1 / 200; five of those may pass."""
    assert group.sample((5_000,)).mean().abs() < 5 / 200


@pytest.mark.parametrize(
    "outsider",
    [
        torch.zeros(8),
        2 * torch.ones(8),
        torch.full((8,), torch.nan),
        torch.ones(7),
        torch.ones(8, dtype=torch.int64),
    ],
    ids=["zero", "two", "nan", "size", "integers"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)


def test_tolerance_is_on_the_modulus():
    assert not group.contains(torch.full((8,), 1.001))
    assert group.contains(torch.full((8,), 1.001), tolerance=0.01)


def test_fractional_charges_are_refused():
    rule = r"Z2\^8.act: charge must be a whole number.* got 1/2. Use an odd number to flip"
    with pytest.raises(ValueError, match=rule):
        group.act(group.sample(), torch.ones(8), Fraction(1, 2))


def test_only_the_identity_has_a_logarithm():
    assert group.log(group.identity((2,))).shape == (2, 0)
    flip = torch.tensor([1.0, -1.0] * 4)
    match = r"Z2\^8.log: g must be the identity.* got \[1, -1, 1, -1, 1, -1, ...\]. Keep discrete elements"
    with pytest.raises(ValueError, match=match):
        group.log(torch.stack([torch.ones(8), flip]))
