"""The family of curved valleys."""

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.problems import GeneralizedRosenbrock


def literal(a, b, c, d, w):
    """The formula of the paper, with constant c and quadratic d, for one member."""
    x, y = w
    return (c * y + d[0] + d[1] * x + d[2] * x**2) ** 2 + (a * x + b) ** 2


def test_a_batch_is_the_formula_of_the_paper():
    family = GeneralizedRosenbrock.sample((8,))
    w = torch.randn(8, 2, dtype=torch.float64)
    members = zip(family.a, family.b, family.c[:, 0], family.d, w, strict=True)
    assert_close(family(w), torch.stack([literal(*member) for member in members]))
    inside = vmap(lambda a, b, c, d, w: GeneralizedRosenbrock(a, b, c, d)(w))
    assert_close(inside(family.a, family.b, family.c, family.d, w), family(w))


def test_a_polynomial_c_without_real_zeros():
    problem = GeneralizedRosenbrock(2.0, 1.0, (1.0, 0.0, 1.0), (0.0, 3.0))  # c = 1 + x^2
    w = torch.randn(9, 2, dtype=torch.float64)
    x, y = w.unbind(-1)
    assert_close(problem(w), ((1 + x**2) * y + 3 * x) ** 2 + (2 * x + 1) ** 2)
    g = problem.group.sample((9,), dtype=torch.float64)
    assert_close(problem(problem.act(g, w)), problem(w), rtol=1e-9, atol=0)


def test_where_c_vanishes_the_map_is_not_invertible_though_the_paper_says_so():
    """c(x) = x: at x = 0 the value does not depend on y, and the action cannot give y back."""
    problem = GeneralizedRosenbrock(1.0, -1.0, (0.0, 1.0), (0.0,))
    on_the_line = torch.tensor([[0.0, 1.0], [0.0, -5.0]], dtype=torch.float64)
    assert problem(on_the_line)[0] == problem(on_the_line)[1]
    back = problem.act(problem.group.identity(dtype=torch.float64), on_the_line)
    assert not back.isfinite().all()


def test_a_and_c_must_not_be_zero():
    for bad in ({"a": 0.0}, {"c": (0.0,)}):
        with pytest.raises(ValueError, match="a and c must not be 0; got"):
            GeneralizedRosenbrock(**bad)
