"""Proposition 4.5.1."""

import pytest
import torch
from torch.func import grad, jacfwd, vmap
from torch.testing import assert_close

from isoloss.problems import PROBLEMS, Booth, Ellipse, MatrixFactorization, rotation
from isoloss.teleport.theory import accelerates, decay_rate, flatten, transported_gradient

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("problem", [pytest.param(p(), id=name) for name, p in PROBLEMS.items()])
def test_the_gradient_moves_by_the_inverse_transpose_of_the_jacobian(problem):
    w = torch.randn(problem.size, dtype=torch.float64)
    g = problem.group.sample(scale=0.3, dtype=torch.float64)

    def move(w):
        return problem.act(g, w)

    there = grad(problem)(move(w))
    # A solve with J: eps times its condition number, and n roundings of terms as large as the gradient or the point.
    cond = float(torch.linalg.cond(jacfwd(move)(w)))
    bound = (
        64
        * problem.size
        * EPS
        * cond
        * float(there.norm() + grad(problem)(w).norm())
        * (1 + float(w.norm())) ** 2
    )
    assert_close(transported_gradient(problem, move, w), there, rtol=0, atol=bound)
    assert accelerates(problem, move, w) == (there.norm() > grad(problem)(w).norm())


def test_a_map_that_keeps_the_loss_only_at_the_point_does_not_transport_it():
    """Negative control: a translation to the same landing point has J = 1, and predicts no change at all."""
    problem, w = Booth(), torch.tensor([5.0, -5.0], dtype=torch.float64)
    to = problem.act(rotation(torch.tensor(1.0, dtype=torch.float64)), w)
    predicted = transported_gradient(problem, lambda v: v + (to - w), w)
    assert_close(problem(to), problem(w))
    assert_close(predicted, grad(problem)(w), rtol=0, atol=0)
    assert abs(predicted.norm() / grad(problem)(to).norm() - 1) > 0.2


def test_a_map_that_changes_the_loss_does_not_transport_it():
    """Negative control: without invariance there is nothing to derive."""
    w = torch.tensor([5.0, -5.0], dtype=torch.float64)
    wrong = transported_gradient(Booth(), lambda v: 2 * v, w)
    assert (wrong - grad(Booth())(2 * w)).norm() > 0.1 * wrong.norm()


def test_an_element_chosen_by_looking_at_the_point_must_be_held_fixed():
    """The map w -> steepest point of its level set keeps the loss, too, but its Jacobian is singular."""
    problem = Ellipse(4.0)

    def to_the_short_axis(w):
        return torch.stack([0 * w[0], (problem(w) / 4).sqrt()])

    w = torch.tensor([1.0, 1.0], dtype=torch.float64)
    assert_close(problem(to_the_short_axis(w)), problem(w))
    assert torch.linalg.matrix_rank(jacfwd(to_the_short_axis)(w)) == 1


def test_the_learning_rates_weigh_the_gradient():
    p = torch.randn(4, dtype=torch.float64)
    eta = torch.rand(4, dtype=torch.float64)
    assert_close(decay_rate(p), p.norm() ** 2)
    assert_close(decay_rate(p, 0.1), 0.1 * p.norm() ** 2)
    assert_close(decay_rate(p, eta), decay_rate(p, torch.diag(eta)))
    assert_close(decay_rate(p, eta), (p**2 * eta).sum())


def test_the_same_jump_may_speed_up_one_optimizer_and_slow_down_another():
    """The condition is on the weighted norm: both signs occur for one and the same g."""
    problem = MatrixFactorization()
    w = torch.randn(problem.size, dtype=torch.float64)

    def move(w):
        return problem.act(2 * torch.eye(2, dtype=torch.float64), w)

    left = torch.cat([torch.ones(6), torch.zeros(4)])
    assert bool(accelerates(problem, move, w, left)) and not bool(accelerates(problem, move, w, 1 - left))


def test_the_promise_is_for_the_moment_only():
    """After a jump that quadruples the squared gradient, a step that was safe before overshoots."""
    problem, lr = Ellipse(16.0), 0.1
    w = torch.tensor([1.0, 0.0], dtype=torch.float64)
    g = rotation(torch.tensor(torch.pi / 2, dtype=torch.float64))
    assert accelerates(problem, lambda v: problem.act(g, v), w)
    step = [problem(v - lr * grad(problem)(v)) for v in (w, problem.act(g, w))]
    assert step[0] < problem(w) < step[1]


def test_named_tensors_and_batches():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    named = dict(model.named_parameters())
    loss, w = flatten(lambda p: (torch.func.functional_call(model, p, x) - y).square().mean(), named)
    model_loss = (model(x) - y).square().mean()
    model_loss.backward()
    assert_close(loss(w), model_loss.detach())
    assert_close(grad(loss)(w), torch.cat([p.grad.flatten() for p in model.parameters()]))

    s = torch.tensor([2.0, 0.5, 4.0, 1.0], dtype=torch.float64)
    factors = torch.cat([s.repeat_interleave(3), s, (1 / s).repeat(2), torch.ones(2, dtype=torch.float64)])
    batch = w + 0.1 * torch.randn(5, len(w), dtype=torch.float64)
    moved = vmap(lambda w: transported_gradient(loss, lambda v: factors * v, w))(batch)
    assert_close(moved, vmap(grad(loss))(factors * batch), rtol=1e-10, atol=1e-12)


def test_a_point_that_is_not_flat_is_refused():
    with pytest.raises(ValueError, match=r"a point must be a flat vector \(n,\); got \(2, 3\)"):
        transported_gradient(lambda w: w.sum(), lambda w: w, torch.zeros(2, 3))
