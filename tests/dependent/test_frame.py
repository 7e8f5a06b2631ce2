import pytest
import torch
from torch.testing import assert_close

from isoloss.dependent import Factor, frame
from isoloss.dependent._frame import Complement, _fixed

EPS = torch.finfo(torch.float64).eps


def polar(a):
    u, _, vt = torch.linalg.svd(a, full_matrices=False)
    return u @ vt


@pytest.mark.parametrize("h, k", [(6, 1), (7, 3), (9, 8), (5, 5)])
def test_it_is_the_polar_factor_of_what_the_projector_leaves_of_a_fixed_basis(h, k):
    s = torch.randn(h, k).double()
    r = frame(s)
    fixed = _fixed(h, k)
    # The basis E that frame() completes F with, recovered from the reflection of the complement.
    complement = Complement.of(Factor.of(s))
    e = complement.reflect(r[:, k:].mT).mT
    assert_close(torch.cat([fixed, e], 1).mT @ torch.cat([fixed, e], 1), torch.eye(h).double())
    left = (torch.eye(h).double() - s @ torch.linalg.pinv(s)) @ e
    # A polar factor is as exact as the smallest singular value of its matrix allows.
    smallest = torch.linalg.svdvals(left).min().item() if k < h else 1.0
    assert_close(r[:, k:], polar(left), rtol=0, atol=8 * h**1.5 * EPS / smallest)


@pytest.mark.parametrize("h, k", [(6, 1), (7, 3), (9, 8), (5, 5)])
def test_it_begins_with_s_and_the_rest_is_orthonormal_and_orthogonal(h, k):
    s = torch.randn(h, k).double()
    r = frame(s)
    assert_close(r[:, :k], s, rtol=0, atol=0)
    c = r[:, k:]
    assert_close(c.mT @ c, torch.eye(h - k).double())
    assert_close(c.mT @ s, torch.zeros(h - k, k).double())
    assert torch.linalg.matrix_rank(r) == h


def test_it_depends_on_s_smoothly_where_units_are_dead():
    s = torch.randn(8, 3).double()
    s[:4] = 0.0  # with coordinate axes as the fixed basis, a pole
    step = 1e-7 * torch.randn(8, 3).double()
    change = (frame(s + step) - frame(s)).norm() / step.norm()
    assert change < 1e3


def test_dependent_columns_are_refused():
    with pytest.raises(ValueError, match="of rank 1"):
        frame(torch.ones(4, 2))
