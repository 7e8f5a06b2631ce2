"""Numbers beside points, and batches of matrices that look like batches of vectors."""

import torch
from torch.testing import assert_close

from isoloss.problems import (
    Booth,
    Ellipse,
    GeneralizedBooth,
    GeneralizedRosenbrock,
    MatrixFactorization,
    descend,
)


def test_a_number_is_not_rounded_to_float32_on_the_way():
    """0.1 in float32 is off by 1.5e-9: exact equality with what float64 numbers give tells."""
    exact = torch.tensor(0.1, dtype=torch.float64)
    w = torch.randn(5, 2, dtype=torch.float64)
    assert_close(Ellipse(0.1)(w), Ellipse(exact)(w), rtol=0, atol=0)
    assert_close(GeneralizedRosenbrock(0.1, 0.1)(w), GeneralizedRosenbrock(exact, exact)(w), rtol=0, atol=0)
    coefficients = GeneralizedRosenbrock(c=exact[None], d=torch.stack([exact, exact]))
    assert_close(GeneralizedRosenbrock(c=(0.1,), d=(0.1, 0.1))(w), coefficients(w), rtol=0, atol=0)
    shifted = [GeneralizedBooth(torch.eye(2, dtype=torch.float64), b) for b in (0.1, exact)]
    assert_close(shifted[0](w), shifted[1](w), rtol=0, atol=0)
    runs = [descend(Booth(), w, lr=lr, steps=3).points for lr in (0.1, exact)]
    assert_close(runs[0], runs[1], rtol=0, atol=0)


def test_as_many_elements_as_rows_of_a_factor():
    """Three elements of GL(2) on a point whose factor is 3 x 2: a solver could take the factor for three vectors."""
    problem = MatrixFactorization()
    w, g = torch.randn(problem.size, dtype=torch.float64), problem.group.sample((3,), dtype=torch.float64)
    assert_close(problem.act(g, w), torch.stack([problem.act(gi, w) for gi in g]))


def test_one_member_of_one_variable():
    """The same for vectors: a batch of one 1 x 1 matrix."""
    member = GeneralizedBooth(torch.full((1, 1, 1), 2.0), torch.ones(1, 1))
    assert_close(member.point(torch.full((1, 1), 5.0)), torch.full((1, 1), 2.0))
    assert_close(member.minimizer, torch.full((1, 1), -0.5, dtype=torch.float64))
