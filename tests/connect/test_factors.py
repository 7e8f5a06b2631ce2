"""Elements as exponentials, in every component."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.connect import factors
from isoloss.groups import Affine, GeneralLinear, Orthogonal, Permutation, SignFlip
from registry import GROUPS


def rebuilt(group, f):
    g = f.reflection
    for a in f.algebra:
        e = group.exp(a)
        g = e if g is None else group.compose(e, g)
    return g


@pytest.mark.parametrize("name", [n for n, g in GROUPS.items() if " x " not in n and g.dim])
def test_the_product_of_the_exponentials_is_the_element(name):
    group = GROUPS[name]
    g = group.sample((3,), scale=0.4, dtype=torch.float64)
    f = factors(group, g)
    assert f.reflection is None and len(f.algebra) == 1
    assert_close(rebuilt(group, f), g, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("group", [GeneralLinear(3), Affine(3)], ids=lambda g: g.name)
def test_without_a_real_logarithm_there_are_several(group):
    """diag(-1, -2, 3) is in the component of the identity, but no exponential: its eigenvalues are simple."""
    g = torch.diag(torch.tensor([-1.0, -2.0, 3.0])).double()
    if isinstance(group, Affine):
        g = torch.cat([g, torch.tensor([[1.0], [2.0], [3.0]]).double()], 1)
    with pytest.raises(ValueError, match="must have no negative real eigenvalue"):
        group.log(g)
    f = factors(group, g)
    assert f.reflection is None and len(f.algebra) == (3 if isinstance(group, Affine) else 2)
    assert_close(rebuilt(group, f), g, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("component", ["permute", "flip"])
@pytest.mark.parametrize(
    "group",
    [GeneralLinear(4), Orthogonal(4), Orthogonal(4, fixes_ones=True), Affine(4)],
    ids=lambda g: g.name,
)
def test_reflections_are_split_off_where_they_are_needed(group, component):
    """One element of a batch has a negative determinant, the other has not."""
    g = group.sample((2,), scale=0.3, dtype=torch.float64)
    g[1] = g[1][[1, 0, 2, 3]]
    with pytest.raises(ValueError, match="got a determinant of"):
        factors(group, g)
    f = factors(group, g, component)
    linear = f.reflection[..., :4]
    assert_close(torch.linalg.det(linear), torch.tensor([1.0, -1.0]).double())
    assert group.contains(f.reflection)
    assert_close(rebuilt(group, f), g, rtol=1e-10, atol=1e-10)


def test_discrete_elements_are_reflections_all_of_them():
    moved = torch.tensor([1, 0, 2])
    assert factors(Permutation(3), torch.arange(3)).reflection is None
    assert torch.equal(factors(Permutation(3), moved, "permute").reflection, moved)
    with pytest.raises(ValueError, match="got .1, 0, 2. of S_3, which is not in that of the identity"):
        factors(Permutation(3), moved)
    assert factors(SignFlip(2), torch.ones(2)).algebra == ()


def test_one_neuron_cannot_be_permuted():
    minus = -torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="one coordinate cannot be permuted"):
        factors(GeneralLinear(1), minus, "permute")
    assert factors(GeneralLinear(1), minus, "flip").reflection.item() == -1.0


def test_a_singular_matrix_is_refused():
    with pytest.raises(ValueError, match="must be an element of the group"):
        factors(GeneralLinear(2), torch.zeros(2, 2).double())
