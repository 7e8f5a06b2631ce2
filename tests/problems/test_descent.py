"""Descent with jumps, and the ways to choose them."""

from math import pi

import pytest
import torch
from torch.testing import assert_close

from isoloss.problems import (
    Ascent,
    Booth,
    Ellipse,
    GeneralizedBooth,
    MatrixFactorization,
    ProblemModule,
    QuadraticForm,
    Rosenbrock,
    SteepestRotation,
    descend,
    rotation,
    squared_gradient,
)

START = torch.tensor([5.0, -5.0], dtype=torch.float64)


def test_without_jumps_it_is_torch_sgd_bit_for_bit():
    """At a rate of 1/16: torch fuses the product with the sum, which rounds alike if the product is exact."""
    module = ProblemModule(Booth(), START)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0625)
    points = [module.w.detach().clone()]
    for _ in range(10):
        optimizer.zero_grad()
        module().backward()
        optimizer.step()
        points.append(module.w.detach().clone())
    run = descend(Booth(), START, lr=0.0625, steps=10)
    assert_close(run.points, torch.stack(points), rtol=0, atol=0)
    assert run.jumps == () and run.gains.shape == (0,) and run.departures.shape == (0, 2)


def test_what_is_recorded_is_what_is_there():
    run = descend(
        Rosenbrock(),
        START.expand(3, 2) / 5,
        lr=1e-4,
        steps=6,
        jumps={2, 4},
        teleport=SteepestRotation(64, 20),
    )
    assert run.points.shape == (7, 3, 2) and run.losses.shape == (7, 3) and run.jumps == (2, 4)
    assert_close(run.losses, Rosenbrock()(run.points))
    assert_close(run.squared_gradients, squared_gradient(Rosenbrock(), run.points))
    assert_close(run.gains[0], run.squared_gradients[2] / squared_gradient(Rosenbrock(), run.departures[0]))
    # A value is known up to eps times gradient times size of the terms.
    assert (run.changes.abs() < 1e-9).all() and (run.gains > 1).all()
    plain = descend(Rosenbrock(), START.expand(3, 2) / 5, lr=1e-4, steps=6)
    assert_close(run.points[:2], plain.points[:2], rtol=0, atol=0)
    assert_close(run.departures[0], plain.points[2], rtol=0, atol=0)


def test_a_sweep_is_a_batch():
    rates = torch.tensor([0.01, 0.04, 0.08], dtype=torch.float64)
    together = descend(Booth(), START.expand(3, 2), lr=rates, steps=10)
    for i, rate in enumerate(rates):
        assert_close(together.losses[:, i], descend(Booth(), START, lr=float(rate), steps=10).losses)


def test_a_family_descends_at_once():
    family = GeneralizedBooth.sample((5,))
    start = torch.randn(5, 2, dtype=torch.float64)
    run = descend(family, start, lr=0.01, steps=5, jumps=[0], teleport=Ascent(3, 1e-4))
    member = descend(GeneralizedBooth(family.matrix[2], family.shift[2]), start[2], lr=0.01, steps=5)
    assert run.losses.shape == (6, 5)
    assert_close(run.losses[0, 2], member.losses[0])  # the jump keeps it, the steps after need not


def test_steps_to_a_loss():
    run = descend(Ellipse(), torch.tensor([1.0, 1.0]), lr=0.1, steps=50)
    reached = int(run.steps_to(1e-3))
    assert run.losses[reached] <= 1e-3 < run.losses[reached - 1]
    assert run.steps_to(-1.0) == torch.inf and run.steps_to(10.0) == 0


def test_the_steepest_rotation_finds_the_short_axis_of_the_ellipse():
    """Known: the eigenvector of the largest eigenvalue (Lemma 4.5.6); the value of the gradient is 4 c lambda."""
    problem, w = Ellipse(9.0), torch.randn(6, 2, dtype=torch.float64)
    moved = problem.act(SteepestRotation()(problem, w), w)
    # Near a maximum the value is flat: a bracket of 1e-8 finds the angle to the root of eps, the value to eps.
    assert_close(squared_gradient(problem, moved), 4 * 9 * problem(w), rtol=1e-12, atol=0)
    assert (moved[:, 0].abs() < 1e-6 * moved[:, 1].abs()).all()


def test_the_steepest_rotation_beats_a_fine_grid():
    problem, w = Rosenbrock(), torch.randn(4, 2, dtype=torch.float64)
    best = squared_gradient(problem, problem.act(SteepestRotation()(problem, w), w))
    angles = torch.linspace(0, 2 * pi, 20001, dtype=torch.float64)
    grid = squared_gradient(problem, problem.act(rotation(angles), w[:, None].expand(4, 20001, 2)))
    assert (best >= grid.amax(-1) * (1 - 1e-9)).all()


def test_ascent_agrees_with_a_literal_loop():
    """The loop of Algorithm 1 for one run, scalar by scalar, with reverse differentiation only."""

    def literal(theta, w, steps, lr):
        for _ in range(steps):
            theta = theta.detach().requires_grad_()
            u, v = w[0] + 2 * w[1] - 7, 2 * w[0] + w[1] - 5
            u, v = theta.cos() * u - theta.sin() * v, theta.sin() * u + theta.cos() * v
            x, y = -u / 3 + 2 * v / 3 + 1, 2 * u / 3 - v / 3 + 3
            loss = (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2
            slopes = torch.autograd.grad(loss, [x, y], create_graph=True)
            rise = torch.autograd.grad(slopes[0] ** 2 + slopes[1] ** 2, theta)[0]
            theta = theta + lr * rise
        return rotation(theta.detach())

    problem, w = Booth(), torch.randn(4, 2, dtype=torch.float64)
    g = Ascent(9, 1e-5)(problem, w, torch.Generator().manual_seed(3))
    starts = pi * torch.rand(4, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for i in range(4):
        # A slope of some 5000 per radian, times the rate 1e-5: nine steps magnify rounding by 1.05^9.
        assert_close(g[i], literal(starts[i, 0], w[i], 9, 1e-5), rtol=0, atol=64 * torch.finfo(w.dtype).eps)


def test_no_steps_of_ascent_are_a_random_element():
    problem, w = Booth(), START.expand(2000, 2)
    g = Ascent(0, start=(0.0, pi))(problem, w, torch.Generator().manual_seed(0))
    assert problem.group.contains(g)
    assert (g[:, 1, 0] >= 0).all() and abs(float(g[:, 0, 0].mean())) < 0.06  # a half turn; 4 / sqrt(2 * 2000)


def test_ascent_climbs_in_more_dimensions():
    problem = QuadraticForm.sample(4, (3,))
    w = torch.randn(3, 4, dtype=torch.float64)
    g = Ascent(steps=60, lr=1e-5, start=(0.0, 0.1))(problem, w)
    before, after = squared_gradient(problem, w), squared_gradient(problem, problem.act(g, w))
    limit = 4 * problem.spectrum[0][:, -1] * problem(w)
    assert (after > before).all() and (after <= limit * (1 + 1e-9)).all()


@pytest.mark.parametrize("jump", [5, 3, -1, 0.5])
def test_a_jump_outside_of_the_run_is_refused(jump):
    with pytest.raises(ValueError, match=rf"steps of the run, 0 to 2; got {jump} of 3 steps"):
        descend(Ellipse(), START, lr=0.1, steps=3, jumps={1, jump}, teleport=Ascent())


def test_refusals():
    with pytest.raises(ValueError, match=r"jumps need a teleport; got jumps \[1\], None"):
        descend(Booth(), START, lr=0.1, steps=2, jumps=[1])
    with pytest.raises(ValueError, match=r"group must be O\(2\); got GL\(2\)"):
        SteepestRotation()(MatrixFactorization(), torch.zeros(10))


def test_a_module_of_a_problem_trains_a_batch():
    module = ProblemModule(Booth(), torch.zeros(3, 2))
    assert module() == 3 * 74
    assert [name for name, _ in module.named_parameters()] == ["w"]
