"""Lemma 4.5.10, Propositions 4.5.11 and 4.5.12."""

import pytest
import torch
from torch.func import grad, hessian
from torch.testing import assert_close

from isoloss.problems import Booth, QuadraticForm, Rosenbrock, SteepestRotation
from isoloss.teleport.theory import (
    dampened_newton_step,
    gradient_eigenvalue,
    misalignment,
    newton_bound,
    newton_direction,
    steepest,
)


def landed(problem, start=(-1.0, 0.5)):
    """The point of the level set with the largest gradient, polished to rounding by following the tangent."""
    w = torch.tensor(start, dtype=torch.float64)
    return problem.act(SteepestRotation(grid=2048, refinements=60)(problem, w), w)


def sine(u, v):
    return (1 - (u @ v / (u.norm() * v.norm())) ** 2).clamp_min(0).sqrt()


def test_at_the_longest_gradient_of_a_level_set_it_is_an_eigenvector():
    """On Booth and on Rosenbrock; not before the jump. The angle is found to the root of eps only."""
    for problem in (Booth(), Rosenbrock()):
        before, after = torch.tensor([-1.0, 0.5], dtype=torch.float64), landed(problem)
        assert misalignment(problem, after) < 1e-6 < 1e-2 < misalignment(problem, before)
        p, h = grad(problem)(after), hessian(problem)(after)
        assert_close(
            h @ p, gradient_eigenvalue(problem, after) * p, rtol=0, atol=1e-6 * float((h @ p).norm())
        )


def test_the_derivative_of_the_squared_norm_is_twice_h_p():
    """Eqs. (4.48) and (4.49), literally."""
    problem, w = Rosenbrock(2), torch.randn(4, dtype=torch.float64)
    left = grad(lambda w: grad(problem)(w).square().sum())(w)
    assert_close(left, 2 * hessian(problem)(w) @ grad(problem)(w))


def test_it_is_the_sine_of_an_angle():
    problem, w = Rosenbrock(2), torch.randn(4, dtype=torch.float64)
    p = grad(problem)(w)
    assert_close(misalignment(problem, w), sine(p, hessian(problem)(w) @ p))


def test_there_the_gradient_has_the_direction_of_newton():
    problem = Rosenbrock()
    w = landed(problem)
    cosine = torch.cosine_similarity(newton_direction(problem, w), grad(problem)(w), dim=0)
    assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-10)
    elsewhere = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    assert (
        torch.cosine_similarity(newton_direction(problem, elsewhere), grad(problem)(elsewhere), dim=0) < 0.9
    )


def test_on_a_concave_function_the_direction_is_the_opposite_though_the_text_says_the_same():
    """Prop. 4.5.11 needs a positive eigenvalue: L = -x^2 - 4 y^2 has its longest gradients on the short axis."""

    def hill(w):
        return -(w[0] ** 2) - 4 * w[1] ** 2

    w = torch.tensor([0.0, 1.0], dtype=torch.float64)
    angles = torch.linspace(0, 6.28, 200, dtype=torch.float64)
    level = torch.stack([2 * angles.cos(), angles.sin()], -1)
    norms = torch.func.vmap(lambda w: grad(hill)(w).norm())(level)
    assert (norms <= grad(hill)(w).norm()).all(), "it is a maximum of its level set"
    assert_close(newton_direction(hill, w), grad(hill)(w) / -8)


def test_on_a_linear_function_there_is_no_such_direction():
    """Prop. 4.5.11 needs an invertible Hessian: every point is a maximum of its level set, and H = 0."""

    def plane(w):
        return 3 * w[0] + 0 * w[1] ** 2

    w = torch.ones(2, dtype=torch.float64)
    assert (hessian(plane)(w) == 0).all() and misalignment(plane, w) == 0


def test_one_gradient_step_from_there_is_a_dampened_newton_step():
    """Eq. (4.51), at any rate; elsewhere the two differ."""
    for problem in (Booth(), Rosenbrock()):
        w = landed(problem)
        for lr in (1e-3, 0.1):
            step = dampened_newton_step(problem, w, lr)
            assert_close(step.gradient, w - lr * grad(problem)(w), rtol=0, atol=0)
            # An angle of 1e-8 or so, times the length of the step and the condition number of the Hessian.
            bound = 1e-7 * lr * grad(problem)(w).norm() * torch.linalg.cond(hessian(problem)(w))
            assert (step.gradient - step.newton).norm() <= bound
        before = torch.tensor([-1.0, 0.5], dtype=torch.float64)
        step = dampened_newton_step(problem, before, 0.1)
        assert (step.gradient - step.newton).norm() > 0.05 * (step.gradient - before).norm()


def test_on_a_quadratic_form_the_right_rate_ends_at_the_minimum():
    form = QuadraticForm.sample(5)
    w = steepest(form.matrix, torch.randn(5, dtype=torch.float64))
    rate = 1 / gradient_eigenvalue(form, w)
    step = dampened_newton_step(form, w, rate)
    bound = 64 * 5 * torch.finfo(w.dtype).eps * 10 * float(w.norm())
    assert_close(step.gradient, torch.zeros_like(w), rtol=0, atol=bound)
    assert_close(step.newton, torch.zeros_like(w), rtol=0, atol=bound)


def quartic(w):
    """Strictly convex, and steeper the farther out along y."""
    return w[0] ** 2 / 2 + w[1] ** 2 / 2 + w[1] ** 4 / 4


def test_the_eigenvalue_is_bounded_at_the_target_and_not_at_the_start_as_the_statement_says():
    """From (2, 0), where the Hessian is 1, the steepest point of the level set is on the y axis; there it is larger."""
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    y = torch.linspace(-2, 2, 100001, dtype=torch.float64)
    x = (4 - y**2 - y**4 / 2).clamp_min(0).sqrt()
    on = (quartic(torch.stack([x, y])) - quartic(start)).abs() < 1e-12
    norms = x**2 + (y + y**3) ** 2
    best = norms.where(on, 0).argmax()
    assert x[best] < 0.05, "the target is the steepest point"
    target = torch.tensor([0.0, 2**0.5], dtype=torch.float64)  # y^2 + y^4 / 2 = 4
    assert_close(quartic(target), quartic(start))
    eigenvalue = dampened_newton_step(quartic, target, 0.1).eigenvalue
    assert misalignment(quartic, target) == 0
    assert eigenvalue > 2 * torch.linalg.eigvalsh(hessian(quartic)(start)).max()
    assert eigenvalue <= torch.linalg.eigvalsh(hessian(quartic)(target)).max() * (1 + 1e-12)


def strongly_convex(w):
    """Hessian between 1 and 1 + 3 in every direction, Lipschitz with constant 3: d/dx of sech^2 is below 1."""
    return (w**2).sum() / 2 + 3 * (torch.cosh(w)).log().sum()


def test_the_bound_of_the_step():
    """One dampened Newton step from many points, at many dampings, never ends farther out."""
    for scale in (0.1, 1.0, 3.0):
        for w in scale * torch.randn(40, 2, dtype=torch.float64):
            for damping in (0.3, 1.0, 1.5):
                end = w - damping * newton_direction(strongly_convex, w)
                bound = newton_bound(w.norm(), damping, lipschitz=3.0, convexity=1.0, smoothness=4.0)
                assert end.norm() <= bound


def test_half_of_it_as_published_is_false():
    """On |w|^2 a step with damping 1/2 halves the distance; L / 2 mu says a quarter."""

    def sphere(w):
        return w @ w

    def published(distance, damping, lipschitz, convexity, smoothness):
        square = lipschitz / (2 * convexity) * distance**2
        return square + abs(1 - damping) * smoothness / (2 * convexity) * distance

    w = torch.randn(3, dtype=torch.float64)
    lr = 0.5 / gradient_eigenvalue(sphere, w)
    end = dampened_newton_step(sphere, w, lr).gradient.norm()
    assert_close(end, w.norm() / 2)
    constants = {"lipschitz": 0.0, "convexity": 2.0, "smoothness": 2.0}
    assert end > 1.9 * published(w.norm(), 0.5, **constants)
    assert_close(end, newton_bound(w.norm(), 0.5, **constants))


def test_where_the_gradient_is_zero_there_is_no_angle():
    """The Lemma says eigenvector: 0 is none."""
    assert misalignment(Booth(), Booth().minimizer).isnan()


@pytest.mark.parametrize(
    "constants", [{"convexity": 0.0, "smoothness": 1.0}, {"convexity": 2.0, "smoothness": 1.0}]
)
def test_the_bound_needs_strong_convexity(constants):
    with pytest.raises(ValueError, match="newton_bound: convexity must be positive and at most smoothness"):
        newton_bound(1.0, 0.5, lipschitz=1.0, **constants)
