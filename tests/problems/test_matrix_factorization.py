"""Matrix factorization."""

import pytest
import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.problems import Ascent, MatrixFactorization, squared_gradient

EPS = torch.finfo(torch.float64).eps


def test_it_is_the_distance_to_a_product():
    problem = MatrixFactorization(torch.randn(5, 4, dtype=torch.float64), rank=2)
    left, right = torch.randn(5, 2, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    assert_close(problem(problem.join(left, right)), (problem.target - left @ right).norm() ** 2)
    assert_close(problem.split(problem.join(left, right)), (left, right), rtol=0, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 6])
def test_the_minimum_is_that_of_eckart_and_young(rank):
    problem = MatrixFactorization(torch.randn(2, 5, 4, dtype=torch.float64), rank=rank)
    tail = torch.linalg.svdvals(problem.target)[:, rank:].square().sum(-1)
    assert_close(problem(problem.minimizer), tail, rtol=64 * EPS, atol=64 * EPS)
    left, right = problem.split(problem.minimizer)
    assert_close(left.mT @ left, right @ right.mT, rtol=0, atol=64 * EPS * float(left.norm() ** 2))
    # Gradient descent from nearby comes back to it and not below.
    w = problem.minimizer + 0.05 * torch.randn(2, problem.size, dtype=torch.float64)
    for _ in range(300):
        w = w - 0.02 * grad(lambda w: problem(w).sum())(w)
    assert (problem(w) >= tail - 64 * EPS * problem.target.norm() ** 2).all()


def test_the_published_form_acts_from_the_right():
    """(U, V) -> (U g, g^-1 V): doing h and then g is the action of h g, not of g h."""

    def published(g, problem, w):
        left, right = problem.split(w)
        return problem.join(left @ g, torch.linalg.inv(g) @ right)

    problem = MatrixFactorization()
    w = torch.randn(problem.size, dtype=torch.float64)
    g, h = problem.group.sample((2,), dtype=torch.float64)
    in_turn = published(g, problem, published(h, problem, w))
    assert_close(in_turn, published(h @ g, problem, w))
    assert (in_turn - published(g @ h, problem, w)).norm() > 0.01


def test_an_ascent_over_the_group_raises_the_gradient_and_keeps_the_value():
    problem = MatrixFactorization(torch.randn(4, 3, dtype=torch.float64), rank=2)
    w = torch.randn(5, problem.size, dtype=torch.float64)
    moved = problem.act(Ascent(steps=5, lr=1e-6, start=(0.0, 0.0))(problem, w), w)
    assert (squared_gradient(problem, moved) > squared_gradient(problem, w)).all()
    assert_close(problem(moved), problem(w), rtol=1e-12, atol=0)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(
        ValueError, match=r"target must be a matrix and the rank at least 1; got shape \(3,\) and rank 2"
    ):
        MatrixFactorization(torch.ones(3))
    with pytest.raises(ValueError, match="rank 0"):
        MatrixFactorization(rank=0)
