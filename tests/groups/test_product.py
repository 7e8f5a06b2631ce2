"""Products act factor by factor, and nest."""

import pytest
import torch

from isoloss.groups import GeneralLinear, Permutation, PositiveScaling, Product, SignFlip, Translation
from laws import assert_equal, point

gl, scaling, signs, permutation = GeneralLinear(3), PositiveScaling(2), SignFlip(2), Permutation(4)


def test_times_builds_a_product():
    assert gl * scaling == Product((gl, scaling))
    assert (gl * scaling).name == "GL(3) x R+^2"
    assert (gl * scaling).dim == 9 + 2
    assert (gl * scaling).n == 5


def test_products_nest():
    nested = gl * scaling * signs
    assert nested == Product((Product((gl, scaling)), signs))
    assert nested.name == "(GL(3) x R+^2) x Z2^2"
    assert nested.element_shape == (((3, 3), (2,)), (2,))
    (g, s), e = nested.sample()
    assert (g.shape, s.shape, e.shape) == ((3, 3), (2,), (2,))


def test_acts_factor_by_factor_with_its_own_charges():
    group = gl * (scaling * permutation)
    g, x = group.sample((2,)), point(group, (2,), (5,), torch.float32)
    moved = group.act(g, x, (-1, (2, 1)))
    assert_equal(moved[0], gl.act(g[0], x[0], -1))
    assert_equal(moved[1][0], scaling.act(g[1][0], x[1][0], 2))
    assert_equal(moved[1][1], permutation.act(g[1][1], x[1][1]))
    a = (torch.randn(2, 3, 3), (torch.randn(2, 2), torch.zeros(2, 0)))
    assert_equal(group.velocity(a, x, (-1, (2, 1)))[1][0], scaling.velocity(a[1][0], x[1][0], 2))
    assert_equal(group.dual(g, x, (-1, (2, 1)))[0], gl.act(g[0], x[0], 1))


def test_basis_is_block_by_block():
    a, b = (scaling * Translation(3)).basis()
    assert_equal(a, torch.cat([torch.eye(2), torch.zeros(3, 2)]))
    assert_equal(b, torch.cat([torch.zeros(2, 3), torch.eye(3)]))


def test_contains_only_tuples_of_elements():
    group = gl * scaling
    g, s = group.sample()
    assert group.contains((g, s))
    assert not group.contains((g, -s))
    assert not group.contains((g,))
    assert not group.contains([g, s])
    assert not group.contains(g)


def test_logarithm_names_the_factor_that_has_none():
    with pytest.raises(ValueError, match=r"S_4.log: g must be the identity"):
        (gl * permutation).log((torch.eye(3), torch.tensor([1, 0, 2, 3])))


@pytest.mark.parametrize(
    "groups", [(), [gl, scaling], (gl, 3), gl], ids=["empty", "list", "number", "one group"]
)
def test_factors_must_be_groups(groups):
    with pytest.raises(
        ValueError, match=r"Product: groups must be a tuple of at least one group; got .* G \* H"
    ):
        Product(groups)


def test_arguments_must_nest_as_the_factors():
    group = gl * scaling
    g, x = group.sample(), point(group, dtype=torch.float32)
    rule = r"GL\(3\) x R\+\^2.{}: elements, points and charges must be tuples of 2; got {}. Nest them"
    with pytest.raises(ValueError, match=rule.format("act", "Tensor")):
        group.act(g[0], x)
    with pytest.raises(ValueError, match=rule.format("act", "1 of them")):
        group.act(g, x[:1])
    with pytest.raises(ValueError, match=rule.format("act", "3 of them")):
        group.act(g, x, (1, 1, 1))
    with pytest.raises(ValueError, match=rule.format("compose", "1 of them")):
        group.compose(g, g[:1])
