"""Corollary 4.5.2."""

import pytest
import torch
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.groups import Orthogonal
from isoloss.problems import QuadraticForm, Rosenbrock, rotation
from isoloss.teleport.theory import decay_rate, is_isometry, isometry

EPS = torch.finfo(torch.float64).eps


def radial(inverse):
    """A loss of w^T eta^-1 w alone, neither quadratic nor convex: kept by every isometry of eta."""

    def loss(w):
        r = w @ inverse @ w
        return r.sin() + r.square() / 10

    return loss


def test_isometries_of_the_learning_rate_change_no_rate():
    eta = QuadraticForm.sample(4, condition=10.0).matrix
    loss = radial(torch.linalg.inv(eta))
    w, q = torch.randn(4, dtype=torch.float64), Orthogonal(4).sample((6,), dtype=torch.float64)
    before = decay_rate(grad(loss)(w), eta)
    for qi in q:
        g = isometry(qi, eta)
        assert is_isometry(g, eta)
        assert (g @ w - w).norm() > 0.1
        # The loss is a function of r; g keeps r to n eps cond(eta) of itself, and f'(r)^2 r has a slope of f'' f' r.
        r = float(w @ torch.linalg.inv(eta) @ w)
        bound = 64 * 4 * EPS * 10.0 * (1 + r) ** 3 * 16
        assert_close(loss(g @ w), loss(w), rtol=0, atol=bound)
        assert_close(decay_rate(grad(loss)(g @ w), eta), before, rtol=0, atol=bound)


def test_the_definition_of_the_group():
    eta = QuadraticForm.sample(3).matrix
    g = isometry(Orthogonal(3).sample(dtype=torch.float64), eta)
    inverse = torch.linalg.inv(eta)
    assert_close(g.T @ inverse @ g, inverse, rtol=0, atol=64 * 3 * EPS * 10)
    assert is_isometry(isometry(torch.eye(3, dtype=torch.float64), eta), eta)
    assert not is_isometry(Orthogonal(3).sample(dtype=torch.float64), eta)
    assert is_isometry(Orthogonal(3).sample(dtype=torch.float64), torch.eye(3, dtype=torch.float64))


def test_for_other_learning_rates_the_same_jump_does_change_the_rate():
    """Negative control: the group must be that of the learning rate in use."""
    eta = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    loss, w = radial(torch.linalg.inv(eta)), torch.tensor([1.0, 0.3], dtype=torch.float64)
    g = isometry(rotation(torch.tensor(1.0, dtype=torch.float64)), eta)
    assert_close(loss(g @ w), loss(w))
    assert abs(decay_rate(grad(loss)(g @ w)) / decay_rate(grad(loss)(w)) - 1) > 0.1


def test_a_rotation_that_acts_through_a_nonlinear_map_does_change_the_rate():
    """Negative control: for SO(2) on the Rosenbrock function J is not g, though g is orthogonal and the rate is 1."""
    problem, w = Rosenbrock(), torch.tensor([-1.0, -1.0], dtype=torch.float64)
    g = rotation(torch.tensor(1.0, dtype=torch.float64))
    assert is_isometry(g, torch.eye(2, dtype=torch.float64))
    assert decay_rate(grad(problem)(problem.act(g, w))) > 2 * decay_rate(grad(problem)(w))


def test_the_sign_that_equation_4_23_loses():
    """Its middle terms: -p^T g^-1 eta g^-T p is minus, not plus, the squared norm."""
    eta = QuadraticForm.sample(3).matrix
    g, p = isometry(Orthogonal(3).sample(dtype=torch.float64), eta), torch.randn(3, dtype=torch.float64)
    left = -p @ torch.linalg.inv(g) @ eta @ torch.linalg.inv(g).T @ p
    assert_close(left, -decay_rate(p, eta))
    assert left < 0 < decay_rate(p, eta)


@pytest.mark.parametrize("least", [0.0, -0.1, 1e-17])
def test_learning_rates_that_are_not_positive_definite_are_refused(least):
    eta = torch.tensor([1.0, 2.0, least], dtype=torch.float64).diag()
    with pytest.raises(ValueError, match="eta must be positive definite; got eigenvalues from"):
        isometry(torch.eye(3, dtype=torch.float64), eta)


def test_isometries_of_many_rates_at_once():
    eta = torch.stack([QuadraticForm.sample(3, condition=10.0).matrix for _ in range(4)])
    q = Orthogonal(3).sample((4,), dtype=torch.float64)
    for g, one, rates in zip(vmap(isometry)(q, eta), q, eta, strict=True):
        assert_close(g, isometry(one, rates))
