"""Affine maps: against homogeneous coordinates, and what does not belong."""

import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from isoloss.groups import Affine, GeneralLinear, Translation
from laws import assert_equal

group = Affine(4)


def homogeneous(g: torch.Tensor) -> torch.Tensor:
    return torch.cat([g, torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]], dtype=g.dtype)])


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape) == ("Aff(4)", 20, (4, 5))


def test_everything_is_that_of_the_homogeneous_matrix():
    g, h = group.sample((2,), dtype=torch.float64)
    x = torch.randn(4, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    assert_close(homogeneous(group.compose(g, h)), homogeneous(g) @ homogeneous(h))
    assert_close(homogeneous(group.inverse(g)), torch.linalg.inv(homogeneous(g)))
    assert_close(group.act(g, x), (homogeneous(g) @ torch.cat([x, one]))[:4])
    a = group.log(g)
    assert_close(torch.cat([a, 0 * a[:1]]), torch.as_tensor(scipy.linalg.logm(homogeneous(g).numpy()).real))


def test_restricts_to_linear_maps_and_to_translations():
    a, t = GeneralLinear(4).sample(dtype=torch.float64), Translation(4).sample(dtype=torch.float64)
    x = torch.randn(3, 4, dtype=torch.float64)
    linear = torch.cat([a, torch.zeros(4, 1, dtype=torch.float64)], -1)
    shift = torch.cat([torch.eye(4, dtype=torch.float64), t[:, None]], -1)
    assert_equal(group.act(linear, x), GeneralLinear(4).act(a, x))
    assert_equal(group.act(shift, x, -1), x)
    assert_close(group.act(shift, x), Translation(4).act(t, x))
    assert_close(group.log(shift), torch.cat([torch.zeros(4, 4, dtype=torch.float64), t[:, None]], -1))


def test_charge_minus_one_is_linear():
    g, (x, y) = group.sample(dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    assert_close(group.act(g, x + y, -1), group.act(g, x, -1) + group.act(g, y, -1))
    assert_close(group.act(g, x, -1), torch.linalg.inv(g[:, :4]).T @ x)


def test_two_affine_layers_are_unchanged():
    """W2 (W1 x + b1) + b2: the columns of W1 are vectors, b1 is a point, and b2 takes up the translation."""
    w1, b1, w2, b2, x = (torch.randn(*s, dtype=torch.float64) for s in ((4, 3), (4,), (2, 4), (2,), (3, 5)))
    g = group.sample(dtype=torch.float64)
    w1_moved, w2_moved = group.dual(g, w1.mT, -1).mT, group.act(g, w2, -1)
    b1_moved, b2_moved = group.act(g, b1), b2 - w2_moved @ g[:, -1]
    net = lambda w1, b1, w2, b2: w2 @ (w1 @ x + b1[:, None]) + b2[:, None]  # noqa: E731
    assert_close(net(w1_moved, b1_moved, w2_moved, b2_moved), net(w1, b1, w2, b2))


def test_gradients_are_not_translated():
    g, y = group.sample(dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    assert_equal(group.dual(g, y), GeneralLinear(4).act(g[:, :4], y, -1))
    assert_equal(group.dual(g, y, -1), GeneralLinear(4).act(g[:, :4], y))


@pytest.mark.parametrize(
    "outsider",
    [
        torch.zeros(4, 5),
        torch.ones(4, 5),
        torch.cat([torch.eye(4), torch.full((4, 1), torch.nan)], -1),
        torch.eye(4),
        torch.eye(5),
        torch.eye(4, 5, dtype=torch.int64),
    ],
    ids=["zero", "rank one", "nan shift", "no shift", "homogeneous", "integers"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)


def test_reflections_have_no_logarithm():
    with pytest.raises(ValueError, match=r"Aff\(4\).log: g must have no negative real eigenvalue .* got -1"):
        group.log(torch.diag(torch.tensor([-1.0, 1, 1, 1, 1]))[:4])


def test_what_has_no_inverse_says_so():
    with pytest.raises(
        ValueError, match=r"inverse: matrices must be invertible; got a singular one \(.*singular"
    ):
        group.inverse(torch.ones(4, 5))
