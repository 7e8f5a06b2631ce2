"""Translations add."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import Translation
from laws import assert_equal

group = Translation(4)


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape) == ("R^4", 4, (4,))


def test_integers_are_exact():
    g, x = torch.randint(-8, 9, (4,)).float(), torch.randint(-8, 9, (3, 4)).float()
    assert_equal(group.act(g, x), x + g)
    assert_equal(group.act(g, x, -2), x - 2 * g)
    assert_equal(group.act(group.inverse(g), group.act(g, x)), x)
    assert_equal(group.exp(group.log(g)), g)


def test_velocity_does_not_depend_on_the_point():
    a = torch.randn(2, 4)
    assert_equal(group.velocity(a, torch.randn(2, 3, 4), 2), (2 * a)[:, None].expand(2, 3, 4))


def test_gradients_do_not_move():
    y = torch.randn(3, 4)
    assert_equal(group.dual(group.sample(), y), y)
    with pytest.raises(ValueError, match=r"R\^4.dual: shapes must be"):
        group.dual(torch.ones(5), y)


def test_softmax_is_unchanged():
    """Dissertation Example 1.2.8: every row of W moves by the same g, softmax over the rows of W X."""
    w, x = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    moved = group.act(group.sample(dtype=torch.float64), w)
    assert_close((moved @ x).softmax(0), (w @ x).softmax(0))


@pytest.mark.parametrize(
    "outsider",
    [
        torch.full((4,), torch.nan),
        torch.full((4,), torch.inf),
        torch.ones(5),
        torch.ones(4, dtype=torch.int64),
    ],
    ids=["nan", "inf", "size", "integers"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)
