"""Every problem of the registry, against every law of a problem."""

from math import prod

import pytest
import torch
from torch.func import grad, hessian, jacrev, vmap
from torch.testing import assert_close

from isoloss.problems import PROBLEMS, Problem, element
from laws import condition

EPS = torch.finfo(torch.float64).eps
every_problem = pytest.mark.parametrize(
    "problem", [pytest.param(p(), id=name) for name, p in PROBLEMS.items()]
)


def points(problem, batch=(7,), dtype=torch.float64):
    return torch.randn(*batch, problem.size, dtype=torch.float64).to(dtype)


def elements(problem, batch=(7,), scale=0.5):
    return problem.group.sample(batch, scale=scale, dtype=torch.float64)


def rounding(problem, w, moved, *elements):
    """How far rounding may take a point of this size, and the value there.

    The maps are polynomials of degree 2 and linear solves: every entry is a sum of n terms as large as the square
    of the largest point on the way, 1 included, known to eps. Solves with g magnify that by cond(g).
    """
    cond = prod(max(1.0, condition(problem.group, g)) for g in elements)
    size = 1 + max(float(w.norm(dim=-1).max()), float(moved.norm(dim=-1).max()))
    distance = 16 * problem.size * EPS * cond * size**2
    slope = grad(lambda w: problem(w).sum())(moved).norm(dim=-1).max()
    value = problem(moved).abs().max()
    return distance, float(distance * slope + 16 * problem.size * EPS * value)


@every_problem
def test_it_is_a_problem(problem):
    assert isinstance(problem, Problem)
    assert PROBLEMS[problem.name] is type(problem)


@every_problem
def test_the_group_keeps_the_value_and_moves_the_point(problem):
    w, g = points(problem), elements(problem)
    moved = problem.act(g, w)
    _, bound = rounding(problem, w, moved, g)
    assert_close(problem(moved), problem(w), rtol=0, atol=bound)
    assert ((moved - w).norm(dim=-1) > 1e-2).all(), "a move that goes nowhere proves nothing"


@every_problem
def test_the_jacobian_kills_no_direction_and_the_values_keep_theirs(problem):
    """The value is kept in a neighbourhood: the gradient at the moved point is the transported one."""
    w, g = points(problem, ()), elements(problem, ())
    moved = problem.act(g, w)
    jacobian = jacrev(lambda w: problem.act(g, w))(w)
    here, there = grad(problem)(w), grad(problem)(moved)
    distance, _ = rounding(problem, w, moved, g)
    bound = distance * float(hessian(problem)(moved).norm() * jacobian.norm() + there.norm())
    assert_close(jacobian.mT @ there, here, rtol=0, atol=bound)


@every_problem
def test_identity_inverse_and_composition(problem):
    w, g, h = points(problem), elements(problem), elements(problem)
    group = problem.group
    once = problem.act(h, w)
    twice = problem.act(g, once)
    bound, _ = rounding(problem, w, twice, g, h)
    bound *= 1 + float(once.norm(dim=-1).max())
    assert_close(problem.act(group.compose(g, h), w), twice, rtol=0, atol=bound)
    assert_close(problem.act(group.inverse(h), once), w, rtol=0, atol=bound)
    assert_close(problem.act(group.identity((7,), dtype=w.dtype), w), w, rtol=0, atol=bound)


@every_problem
def test_another_problem_does_not_keep_its_value(problem):
    """Negative control: the group moves along these level sets, not along others."""
    w, g = points(problem), elements(problem)
    shifted = problem.act(g, w + 0.5) - 0.5
    assert ((problem(shifted) - problem(w)).abs() > 1e-3 * problem(w)).any()


@every_problem
def test_the_minimum_is_one(problem):
    best = problem.minimizer
    assert best.shape[-1] == problem.size
    # Values are squares of residuals that are 0 up to rounding.
    scale = 1 + best.norm() ** 2
    assert_close(problem(best), problem.minimum, rtol=0, atol=float((64 * problem.size * EPS * scale) ** 2))
    assert (problem(best + 0.1 * points(problem)) > problem.minimum).all()
    slope = grad(problem)(best)
    stiffness = hessian(problem)(best).norm()
    assert slope.norm() <= 64 * problem.size * EPS * stiffness * scale


@every_problem
def test_a_batch_is_a_loop_and_vmaps(problem):
    w, g = points(problem, (4, 3)), elements(problem, (4, 3))
    values, moved = problem(w), problem.act(g, w)
    assert values.shape == (4, 3) and moved.shape == w.shape
    for i in range(4):
        for j in range(3):
            distance, bound = rounding(problem, w[i, j], moved[i, j], g[i, j])
            assert_close(problem(w[i, j]), values[i, j], rtol=0, atol=bound)
            assert_close(problem.act(g[i, j], w[i, j]), moved[i, j], rtol=0, atol=distance)
    assert_close(vmap(vmap(problem))(w), values)
    assert_close(vmap(vmap(problem.act))(g, w), moved)
    assert vmap(hessian(problem))(w[0]).shape == (3, problem.size, problem.size)


@every_problem
def test_one_element_moves_a_batch(problem):
    w, g = points(problem), elements(problem, ())
    assert_close(problem.act(g, w), problem.act(g.expand(7, *g.shape), w))
    many = elements(problem)
    assert_close(problem.act(many, w[0]), problem.act(many, w[0].expand(7, -1)))


@every_problem
def test_float32_stays_float32(problem):
    w, g = points(problem), elements(problem)
    single = problem.act(g.float(), w.float())
    assert single.dtype == problem(w.float()).dtype == torch.float32
    # The same bound as above, at the other precision; the condition number is that of the elements.
    distance, _ = rounding(problem, w, problem.act(g, w), g)
    ratio = torch.finfo(torch.float32).eps / EPS
    assert_close(single.double(), problem.act(g, w), rtol=0, atol=distance * ratio)


@every_problem
def test_the_velocity_along_the_group_is_tangent_to_the_level_set(problem):
    w = points(problem, ())
    zero = torch.zeros(problem.group.dim, dtype=torch.float64)
    velocities = jacrev(lambda c: problem.act(element(problem.group, c), w))(zero)
    p = grad(problem)(w)
    assert (velocities.norm(dim=0) > 1e-6).all()
    # As for a value: eps times the sizes of the two factors and of the point.
    bound = 64 * problem.size * EPS * (1 + w.norm()) ** 2 * p.norm() * (1 + velocities.norm())
    assert (p @ velocities).abs().max() <= bound


@every_problem
def test_points_of_the_wrong_size_are_refused(problem):
    with pytest.raises(ValueError, match=rf"points must have shape \(\*batch, {problem.size}\); got \(3, "):
        problem(torch.zeros(3, problem.size + 1))
    with pytest.raises(ValueError, match="points must have shape"):
        problem.act(problem.group.identity(), torch.zeros(3, problem.size + 1))
    with pytest.raises(ValueError, match="elements must have shape"):
        problem.act(torch.eye(problem.group.n + 1), torch.zeros(3, problem.size))
