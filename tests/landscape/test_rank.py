"""The rank by connected parts against that of the whole matrix."""

import pytest
import torch

from isoloss.landscape import _rank
from isoloss.landscape._peel import Cut
from isoloss.landscape._rank import Entries, rank


def of(matrix):
    where = matrix.nonzero()
    seen = Cut()
    entries = Entries(where[:, 0], where[:, 1], matrix[where[:, 0], where[:, 1]])
    return rank(entries, tuple(matrix.shape), seen), seen


def unit(matrix):
    return matrix / matrix.norm(dim=1, keepdim=True).clamp_min(1e-300)


@pytest.mark.parametrize("wide", [1024, 2])
@pytest.mark.parametrize("seed", range(8))
def test_sparse_matrices(monkeypatch, seed, wide):
    """Parts of all shapes, rows and columns without entries, dependent rows; wide parts go another way."""
    monkeypatch.setattr(_rank, "WIDE", wide)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(40, 50, generator=generator, dtype=torch.float64)
    matrix[torch.rand(40, 50, generator=generator) > 0.02 * (1 + seed)] = 0.0
    matrix[30] = matrix[2] - matrix[4]
    matrix[31] = matrix[7]
    found, seen = of(unit(matrix))
    assert found == torch.linalg.matrix_rank(matrix)
    assert seen.kept > 1e4 * seen.dropped


def test_equal_parts_are_told_apart():
    """Rows 0 and 2 share columns, row 1 has its own: labels, not positions, decide."""
    matrix = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]).double()
    assert of(unit(matrix))[0] == 2


def test_nothing_has_rank_zero():
    assert of(torch.zeros(0, 5).double())[0] == 0
    assert of(torch.zeros(3, 5).double())[0] == 0


def test_a_long_path_is_one_part():
    """Labels must travel along all of it."""
    matrix = torch.eye(200).double() + torch.diag(torch.ones(199), 1).double()
    assert len(list(_rank._parts(Entries(*matrix.nonzero().T, matrix[matrix != 0]), (200, 200)))) == 1
    matrix[-1] = 0.0
    assert of(unit(matrix))[0] == 199


def test_the_gap_is_reported():
    matrix = torch.eye(3).double()
    matrix[2] = torch.tensor([1.0, 0.0, 1e-5])
    found, seen = of(matrix)
    assert found == 3 and seen.dropped < 1e-13 < 1e-6 < seen.kept < 1e-4
