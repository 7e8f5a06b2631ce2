from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.testing import assert_close

from isoloss.teleport import _squares
from isoloss.teleport._squares import Lattice, Matrix, Runs


@pytest.mark.parametrize("block", [1, 7, 12, 1 << 19], ids=lambda b: f"blocks of {b} entries")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_sums_over_rows_and_columns_do_not_depend_on_the_blocks(monkeypatch, block, dtype):
    monkeypatch.setattr(_squares, "BLOCK", block)
    wide = torch.promote_types(dtype, torch.float32)
    x, u, v = torch.randn(9, 4).to(dtype), torch.rand(9, dtype=wide), torch.rand(4, dtype=wide)
    squares = x.to(wide).square()
    matrix = Matrix(x, 2.0, wide)
    rows, columns = matrix.sums([u, v])
    # Sums of at most 36 positive numbers: relative error below 36 eps.
    close = {"rtol": 36 * torch.finfo(wide).eps, "atol": 0.0}
    assert_close(rows, 2.0 * (squares @ v), **close)
    assert_close(columns, 2.0 * (u @ squares), **close)
    assert_close(matrix.total([u, v]), 2.0 * (u @ squares @ v), **close)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_sums_over_the_channels_of_a_convolution(layout):
    """Against the sums of its squares over three axes at a time; 108 positive numbers, 108 eps."""
    x = torch.randn(3, 4, 3, 3, dtype=torch.float64).to(memory_format=layout)
    u, v = (torch.rand(n, dtype=torch.float64) for n in (3, 4))
    runs, squares = Runs(x, 2.0, torch.float64), 2.0 * x.square().sum((2, 3))
    rows, columns = runs.sums([u, v])
    assert_close(rows, squares @ v, rtol=108 * 2.3e-16, atol=0.0)
    assert_close(columns, u @ squares, rtol=108 * 2.3e-16, atol=0.0)
    assert_close(runs.total([u, v]), u @ squares @ v, rtol=108 * 2.3e-16, atol=0.0)


def test_a_strided_matrix_gives_the_same_sums():
    x, u, v = torch.randn(4, 9).T, torch.rand(9), torch.rand(4)
    strided, packed = Matrix(x, 1.0, torch.float32), Matrix(x.contiguous(), 1.0, torch.float32)
    assert_close(strided.sums([u, v]), packed.sums([u, v]))


def test_sums_over_three_axes():
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    a, b, c = (torch.rand(n, dtype=torch.float64) for n in x.shape)
    lattice = Lattice(x.square())
    expected = [
        torch.einsum("ijk,j,k->i", x.square(), b, c),
        torch.einsum("ijk,i,k->j", x.square(), a, c),
        torch.einsum("ijk,i,j->k", x.square(), a, b),
    ]
    for found, sums in zip(lattice.sums([a, b, c]), expected, strict=True):
        assert_close(found, sums)
    assert_close(lattice.total([a, b, c]), torch.einsum("ijk,i,j,k->", x.square(), a, b, c))


def test_threads_do_not_share_scratch_memory():
    x, u, v = torch.randn(64, 64), torch.rand(64), torch.rand(64)
    expected = Matrix(x, 1.0, torch.float32).sums([u, v])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: Matrix(x, 1.0, torch.float32).sums([u, v]), range(200)):
            assert_close(found, expected, rtol=0.0, atol=0.0)
