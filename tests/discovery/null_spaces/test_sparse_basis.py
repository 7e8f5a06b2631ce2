"""A basis that can be read: the same span, and sparse where some basis is."""

import torch
from torch.testing import assert_close

from isoloss.discovery.null_spaces._sparse_basis import sparse_basis


def orthonormal(k: int, m: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(m, k, dtype=torch.float64)).Q.T


def test_the_span_stays():
    rows = orthonormal(5, 17)
    found = sparse_basis(rows)
    assert_close(found @ found.T, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(found.T @ found, rows.T @ rows, rtol=0, atol=1e-12)


def test_disjoint_supports_are_found_again():
    """Whatever rotation hid them, in order and with their signs."""
    hidden = torch.block_diag(*(torch.rand(1, n, dtype=torch.float64) + 0.1 for n in (3, 1, 4, 2)))
    hidden = hidden / hidden.norm(dim=1, keepdim=True)
    for _ in range(10):
        assert_close(sparse_basis(orthonormal(4, 4) @ hidden), hidden, rtol=0, atol=1e-10)


def test_fourth_powers_do_not_fall():
    rows = orthonormal(6, 30)
    assert float(sparse_basis(rows).pow(4).sum()) > float(rows.pow(4).sum())


def test_nothing_stays_nothing():
    assert sparse_basis(torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 4)
