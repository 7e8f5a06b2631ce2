import pytest
import torch
from torch.testing import assert_close

from isoloss.dependent import Factor
from isoloss.dependent._factor import right_divide


def of_rank(h, k, rank, dtype=torch.float64):
    return (torch.randn(h, rank).double() @ torch.randn(rank, k).double()).to(dtype)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)], ids=str)
@pytest.mark.parametrize("rank", [2, 4])
def test_the_pseudo_inverse_is_that_of_torch(shape, rank):
    s, b = of_rank(*shape, rank), torch.randn(3, shape[1]).double()
    factor = Factor.of(s)
    assert factor.rank == rank
    # Errors of a pseudo-inverse grow with the condition number; n^1.5 roundings per product, three products.
    bound = 3 * 9**1.5 * torch.finfo(s.dtype).eps * factor.condition
    expected = b @ torch.linalg.pinv(s)
    assert_close(factor.right_divide(b), expected, rtol=0, atol=bound * expected.norm().item())


def test_columns_are_orthonormal_and_span():
    s = of_rank(8, 5, 3)
    factor = Factor.of(s)
    assert_close(factor.left.mT @ factor.left, torch.eye(3).double())
    assert_close(factor.left @ factor.left.mT @ s, s)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_matrices_go_through_float64(shape, dtype):
    s, b = torch.randn(shape).to(dtype), torch.randn(3, shape[1])
    factor = Factor.of(s)
    assert factor.left.dtype == torch.float64 and factor.rank == 4
    # The Gram matrix squares the condition number; in float64 nothing of seven digits is lost.
    assert_close(factor.right_divide(b), b.double() @ torch.linalg.pinv(s.double()), rtol=1e-10, atol=1e-10)


def test_the_cutoff_is_a_fraction_of_the_largest_singular_value():
    u, v = (torch.linalg.qr(torch.randn(5, 5).double()).Q for _ in range(2))
    s = u @ torch.diag(torch.tensor([10.0, 1.0, 1e-2, 1e-4, 1e-6]).double()) @ v.mT
    assert [Factor.of(s, c).rank for c in (0.5, 0.01, 1e-4, 1e-6)] == [1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)], ids=str)
def test_a_well_conditioned_narrow_matrix_needs_no_eigenvalues(shape, monkeypatch):
    s, b = torch.randn(shape), torch.randn(3, shape[1])
    expected = Factor.of(s).right_divide(b)
    monkeypatch.setattr(Factor, "of", None)
    assert_close(right_divide(b, s), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)], ids=str)
def test_one_that_may_be_of_lower_rank_does(shape):
    s, b = of_rank(*shape, 3, torch.float32), torch.randn(3, shape[1])
    assert_close(right_divide(b, s), Factor.of(s).right_divide(b), rtol=0, atol=0)
    # Without its cut-off the pseudo-inverse of a matrix of rank 3, rounded, is huge.
    assert right_divide(b, s).norm() < 1e-3 * right_divide(b, s, cutoff=0.0).norm()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 entries not finite"):
        Factor.of(torch.tensor([[1.0, torch.inf]]))
