"""The triangular factor: that of all rows, however they come, with the digits that squares lose."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.discovery.null_spaces._factor import Factor

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("size", [3, 8, 50])
def test_blocks_do_not_matter(size):
    rows = torch.randn(50, 8, dtype=torch.float64)
    factor = Factor(8)
    for block in rows.split(size):
        factor.add(block)
    assert factor.count == 50 and factor.triangle.shape[0] <= 8
    assert_close(factor.triangle.T @ factor.triangle, rows.T @ rows, rtol=0, atol=1e-12)
    assert_close(torch.linalg.svdvals(factor.mean), torch.linalg.svdvals(rows) / 50**0.5, rtol=0, atol=1e-13)


def test_small_singular_values_stay():
    """1e-12 of the largest: within rounding of the largest, where the Gram matrix has nothing left."""
    u = torch.linalg.qr(torch.randn(60, 3, dtype=torch.float64)).Q
    v = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    s = torch.tensor([1.0, 1e-6, 1e-12], dtype=torch.float64)
    rows, factor = u * s @ v.T, Factor(3)
    for block in rows.split(7):
        factor.add(block)
    # 9 decompositions, each off by some eps of the largest.
    assert_close(torch.linalg.svdvals(factor.triangle), s, rtol=0, atol=100 * EPS)
    squared = torch.linalg.eigvalsh(rows.T @ rows).abs().sqrt().flip(0)
    assert abs(float(squared[2]) - 1e-12) > 1e-10


def test_few_rows_are_kept_as_they_are():
    rows, factor = torch.randn(3, 8, dtype=torch.float64), Factor(8)
    factor.add(rows)
    assert torch.equal(factor.triangle, rows)
