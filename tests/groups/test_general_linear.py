"""Invertible matrices: textbook formulas, the networks of the dissertation, and what does not belong."""

import pytest
import torch
from torch import randn
from torch.testing import assert_close

from isoloss.groups import GeneralLinear
from laws import assert_equal

group = GeneralLinear(6)


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape) == ("GL(6)", 36, (6, 6))


def test_action_is_the_textbook_one():
    g, x = group.sample((2,)), randn(2, 3, 6)
    inverse = torch.linalg.inv(g)
    for i in range(2):
        for j in range(3):
            assert_close(group.act(g, x)[i, j], g[i] @ x[i, j])
            assert_close(group.act(g, x, -1)[i, j], inverse[i].T @ x[i, j])


def test_linear_network_is_unchanged():
    """Dissertation Example 1.2.2, biases included."""
    w1, b1, w2, x = randn(6, 4), randn(6), randn(3, 6), randn(4, 10)
    g = group.sample()
    w1_moved, b1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, b1), group.act(g, w2, -1)
    assert_close(w1_moved, g @ w1)
    assert_close(w2_moved, w2 @ torch.linalg.inv(g))
    assert_close(w2_moved @ (w1_moved @ x + b1_moved[:, None]), w2 @ (w1 @ x + b1[:, None]))


def test_attention_scores_of_each_head_are_unchanged():
    """Dissertation Example 1.2.11, one matrix per head: x holds (head, model, key) axes."""
    q, k, x = randn(3, 10, 6), randn(3, 10, 6), randn(7, 10)
    g = group.sample((3,))
    scores = lambda q, k: (x @ q) @ (x @ k).mT  # noqa: E731
    assert_close(scores(group.act(g, q), group.act(g, k, -1)), scores(q, k))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_scaled_permutation_matrices_are_exact(dtype):
    """Powers of two and permutations do not round, neither in products nor in solves."""
    g = (torch.diag(2.0 ** torch.randint(-3, 4, (6,)))[torch.randperm(6)]).to(dtype)
    w1, w2, x = (torch.randint(-8, 9, s).to(dtype) for s in ((6, 5), (3, 6), (5, 4)))
    w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -1)
    wide = lambda w2, w1: w2.double() @ w1.double() @ x.double()  # noqa: E731
    assert_equal(wide(w2_moved, w1_moved), wide(w2, w1))


def test_contragredient_is_accurate_where_an_inverse_is_not():
    """A backward stable solve leaves a residual r g - x of n eps |r| |g|, however ill conditioned g is."""
    g = torch.linalg.svd(randn(6, 6))
    g = g.U @ torch.diag(torch.logspace(0, -12, 6)) @ g.Vh
    x = randn(20, 6)
    rows = group.act(g, x, -1)
    residual = torch.linalg.vector_norm(rows @ g - x, dim=-1)
    bound = (
        6**1.5 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(rows, dim=-1) * torch.linalg.norm(g, 2)
    )
    assert (residual <= bound).all()


def test_samples_have_entries_over_sqrt_n():
    """The log of a sample has entries of standard deviation scale / sqrt(n), to the sampling error, five-fold."""
    draws = GeneralLinear(3).sample((2_000,), scale=0.2)
    spread = GeneralLinear(3).log(draws).std() * 3**0.5 / 0.2
    assert abs(spread - 1) < 5 / (2 * draws.numel()) ** 0.5


def test_samples_keep_the_orientation():
    assert (torch.linalg.det(group.sample((50,), scale=2.0)) > 0).all()


@pytest.mark.parametrize(
    "outsider",
    [
        torch.zeros(6, 6),
        torch.ones(6, 6),
        torch.full((6, 6), torch.nan),
        torch.full((6, 6), torch.inf),
        torch.eye(5),
        torch.eye(6, 7),
        torch.ones(6),
        torch.eye(6, dtype=torch.int64),
    ],
    ids=["zero", "rank one", "nan", "inf", "size", "not square", "vector", "integers"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)


def test_belonging_is_a_matter_of_condition_not_of_size():
    assert group.contains(1e-200 * torch.eye(6))
    nearly = torch.diag(torch.tensor([1.0] * 5 + [1e-10]))
    assert group.contains(nearly)
    assert not group.contains(nearly, tolerance=1e-8)
    assert not group.contains(torch.stack([torch.eye(6), torch.ones(6, 6)]))


@pytest.mark.parametrize("g", [torch.zeros(6, 6), torch.stack([torch.eye(6), torch.ones(6, 6)])])
def test_what_has_no_inverse_says_so(g):
    rule = r"matrices must be invertible; got a singular one \(.*singular.*\); ask contains\(g\) of its group"
    with pytest.raises(ValueError, match="inverse: " + rule):
        group.inverse(g)
    with pytest.raises(ValueError, match="act: " + rule):
        group.act(g, randn(2, 6), -1)
