"""The Rosenbrock function of 2N variables."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.problems import GeneralizedRosenbrock, Rosenbrock


def test_it_is_equation_4_3():
    x, y = torch.randn(2, 50, dtype=torch.float64)
    # Some ten roundings of terms as large as the value.
    assert_close(
        Rosenbrock()(torch.stack([x, y], -1)), 100 * (x**2 - y) ** 2 + (x - 1) ** 2, rtol=1e-12, atol=0
    )


def test_exact_values():
    assert Rosenbrock()(torch.tensor([-1.0, -1.0])) == 404
    assert Rosenbrock(3)(torch.tensor([1.0, 1.0, 0.0, 0.0, 2.0, 4.0])) == 2


def test_all_of_the_large_group_acts_not_only_one_rotation_per_pair():
    problem = Rosenbrock(3)
    w = torch.randn(5, 6, dtype=torch.float64)
    g = problem.group.sample((5,), scale=1.0, dtype=torch.float64)
    assert problem.group.dim == 15
    assert (g[:, :2, 2:].abs() > 0.1).any(), "the element mixes pairs"
    moved = problem.act(g, w)
    slope = 1e4  # of the value at points of size 10
    assert_close(problem(moved), problem(w), rtol=0, atol=slope * 64 * torch.finfo(w.dtype).eps * 100)


def test_the_chain_of_the_same_name_is_another_function():
    """Negative control: neighbours that share a variable; the action does not keep it."""

    def chain(w):
        return (100 * (w[..., :-1] ** 2 - w[..., 1:]) ** 2 + (w[..., :-1] - 1) ** 2).sum(-1)

    problem = Rosenbrock(2)
    w = torch.randn(9, 4, dtype=torch.float64)
    g = problem.group.sample((9,), dtype=torch.float64)
    assert_close(chain(w[..., :2]), Rosenbrock()(w[..., :2]))
    assert ((chain(problem.act(g, w)) - chain(w)).abs() > 0.1 * chain(w)).any()


def test_it_is_the_member_of_the_family_that_the_paper_names():
    member = GeneralizedRosenbrock(1.0, -1.0, (-10.0,), (0.0, 0.0, 10.0))
    w = torch.randn(9, 2, dtype=torch.float64)
    assert_close(member.residual(w), Rosenbrock().residual(w), rtol=1e-13, atol=1e-13)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="pairs must be at least 1; got 0"):
        Rosenbrock(0)
