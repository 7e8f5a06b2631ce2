"""Rotations and reflections, and those that fix the ones."""

from itertools import combinations

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal
from laws import assert_equal

group = Orthogonal(5)
fixing = Orthogonal(5, fixes_ones=True)
both = pytest.mark.parametrize("group", [group, fixing], ids=lambda g: g.name)


def reflection(n: int) -> torch.Tensor:
    return torch.diag(torch.tensor([-1.0] + [1.0] * (n - 1)))


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape) == ("O(5)", 10, (5, 5))
    assert (fixing.name, fixing.dim, fixing.element_shape) == ("O(5; 1)", 6, (5, 5))


def test_basis_is_that_of_the_dissertation():
    """E_ij - E_ji for i < j (Example 2.5.5)."""
    expected = torch.zeros(10, 5, 5)
    for b, (i, j) in zip(expected, combinations(range(5), 2), strict=True):
        b[i, j], b[j, i] = 1, -1
    assert_equal(group.basis(), expected)


@both
def test_basis_is_orthogonal_with_length_sqrt_two(group):
    basis = group.basis(dtype=torch.float64).flatten(1)
    assert_close(basis @ basis.mT, 2 * torch.eye(group.dim, dtype=torch.float64))


def test_both_charges_are_the_contragredient_of_each_other():
    g, x = group.sample(dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert_equal(group.act(g, x, -1), group.act(g, x, 1))
    assert_close(group.act(g, x, -1), GeneralLinear(5).act(g, x, -1))


def test_radial_network_is_unchanged():
    """Dissertation Example 1.2.6, sigma(z) = tanh(|z|) z, reflections included."""
    w1, w2, x = (torch.randn(*s, dtype=torch.float64) for s in ((5, 3), (2, 5), (3, 7)))
    radial = lambda z: torch.tanh(z.norm(dim=0)) * z  # noqa: E731
    for g in (group.sample(dtype=torch.float64), reflection(5).double()):
        w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -1)
        assert_close(w2_moved @ radial(w1_moved @ x), w2 @ radial(w1 @ x))


def test_layer_norm_lets_the_stabilizer_of_the_ones_through():
    norm = lambda x: torch.nn.functional.layer_norm(x, (5,))  # noqa: E731
    x = torch.randn(4, 5, dtype=torch.float64)
    g = fixing.sample(dtype=torch.float64)
    assert_close(norm(fixing.act(g, x)), fixing.act(g, norm(x)))
    g = group.sample(dtype=torch.float64)
    assert (norm(group.act(g, x)) - group.act(g, norm(x))).abs().max() > 1e-2  # the negative control


def test_signed_permutation_matrices_are_exact():
    g = torch.diag(torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0]))[torch.randperm(5)]
    x = torch.randn(7, 5)
    assert group.contains(g, tolerance=0.0)
    assert_equal(group.act(group.inverse(g), group.act(g, x)), x)
    assert_equal(group.compose(g, group.inverse(g)), group.identity())


@pytest.mark.parametrize("n", [2, 64, 200])
def test_exp_stays_in_the_group(n):
    """A long way along the algebra, within what one rounding per entry costs."""
    a = torch.randn(n, n, dtype=torch.float64)
    g = Orthogonal(n).exp(10 * (a - a.mT))
    assert Orthogonal(n).contains(g)
    assert Orthogonal(n).contains(Orthogonal(n).exp(10 * (a - a.mT).float()))


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_eight_products_in_a_row_are_elements(group, dtype):
    product = group.identity(dtype=dtype)
    for g in group.sample((8,), dtype=dtype):
        product = group.compose(g, product)
    assert group.contains(product)


@pytest.mark.parametrize(
    "outsider",
    [
        2 * torch.eye(5),
        torch.eye(5) + 1e-4,
        torch.zeros(5, 5),
        torch.full((5, 5), torch.nan),
        torch.eye(4),
        torch.eye(5, dtype=torch.int64),
    ],
    ids=["scaled", "drifted", "zero", "nan", "size", "integers"],
)
@both
def test_what_does_not_belong(group, outsider):
    assert not group.contains(outsider)


def test_what_moves_the_ones_does_not_fix_them():
    g = group.sample(dtype=torch.float64)
    assert group.contains(g) and not fixing.contains(g)
    swap = torch.eye(5)[[1, 0, 2, 3, 4]]
    assert fixing.contains(swap) and not fixing.contains(reflection(5))


def test_tolerance_is_on_the_entries_of_the_defect():
    drifted = (1 + 1e-4) * torch.eye(5)
    assert group.contains(drifted, tolerance=2.1e-4) and not group.contains(drifted, tolerance=1.9e-4)


def test_reflections_have_no_logarithm():
    match = (
        r"O\(5\).log: g must be a rotation, determinant 1; got a determinant of -1. Split off a reflection"
    )
    with pytest.raises(ValueError, match=match):
        group.log(reflection(5))
    with pytest.raises(ValueError, match=match):
        group.log(torch.stack([torch.eye(5), reflection(5)]))
    with pytest.raises(ValueError, match=r"O\(5; 1\).log: g must be a rotation"):
        fixing.log(torch.eye(5)[[1, 0, 2, 3, 4]])


def test_logarithm_of_the_stabilizer_annihilates_the_ones():
    a = fixing.log(fixing.sample((4,), scale=2.0, dtype=torch.float64))
    assert_close(a.sum(-1), torch.zeros(4, 5, dtype=torch.float64))
