"""Algorithm 2 of the 2025 paper, on test problems and on optimizees with an action."""

from dataclasses import dataclass
from math import pi

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Group, Orthogonal, Permutation
from isoloss.learn.actions import Action
from isoloss.learn.on_the_fly import descend_on_the_fly, reversal_rate, train_on_the_fly
from isoloss.problems import PROBLEMS, Booth, MatrixFactorization, QuadraticForm, Rosenbrock, descend, element

EPS = torch.finfo(torch.float64).eps


def literal(problem, x, theta, lr, group_lr, steps):
    """One run of Algorithm 2, line by line, with torch.autograd."""
    points, coordinates = [x], [theta]
    for _ in range(steps):
        t = theta.clone().requires_grad_()
        y = problem.act(element(problem.group, t), x)
        (p,) = torch.autograd.grad(problem(y), y, create_graph=True)
        after = y - lr * p
        (rise,) = torch.autograd.grad(problem(after), t)
        x, theta = after.detach(), theta - group_lr * rise
        points.append(x)
        coordinates.append(theta)
    return torch.stack(points), torch.stack(coordinates)


def start(problem, n=3):
    return problem.minimizer + 0.1 * torch.randn(n, problem.size, dtype=torch.float64)


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_algorithm_for_every_problem(name):
    problem = PROBLEMS[name]()
    x = start(problem)
    theta = 0.1 * torch.randn(3, problem.group.dim, dtype=torch.float64)
    run = descend_on_the_fly(problem, x, lr=1e-3, group_lr=1e-3, steps=3, coordinates=theta)
    for i in range(3):
        points, coordinates = literal(problem, x[i], theta[i], 1e-3, 1e-3, 3)
        # Three steps of maps of condition below 1e4 (Rosenbrock's h), on numbers of order 1.
        assert_close(run.points[:, i], points, rtol=1e4 * 16 * EPS, atol=1e4 * 16 * EPS)
        assert_close(run.coordinates[:, i], coordinates, rtol=1e4 * 16 * EPS, atol=1e4 * 16 * EPS)
    assert (run.coordinates[1:] != run.coordinates[:-1]).any(-1).all(), "every step learns"


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_recorded(name):
    problem = PROBLEMS[name]()
    x = start(problem)
    theta = 0.1 * torch.randn(3, problem.group.dim, dtype=torch.float64)
    run = descend_on_the_fly(problem, x, lr=1e-4, group_lr=1e-4, steps=2, coordinates=theta)

    def norm(w):
        return torch.func.grad(lambda w: problem(w).sum())(w).norm(dim=-1)

    assert run.points.shape == (3, 3, problem.size) and run.landings.shape == (2, 3, problem.size)
    assert_close(run.losses, problem(run.points))
    assert_close(run.gradient_norms, norm(run.points))
    assert_close(run.gains, norm(run.landings) / norm(run.points[:-1]))
    # Near the minimum the value is a sum of squares of differences: its relative error is eps / its root.
    assert (run.changes.abs() <= 1e4 * EPS / run.losses[:-1].sqrt()).all()
    moved = problem.act(element(problem.group, run.coordinates[1]), run.points[1])
    assert_close(run.landings[1], moved)


def test_without_learning_and_without_an_element_it_is_descent():
    problem = Booth()
    x = start(problem)
    run = descend_on_the_fly(problem, x, lr=0.05, group_lr=0.0, steps=20)
    plain = descend(problem, x, lr=0.05, steps=20)
    assert_close(run.points, plain.points, rtol=100 * EPS, atol=100 * EPS)
    assert (run.coordinates == 0).all()
    learned = descend_on_the_fly(problem, x, lr=0.05, group_lr=1.0, steps=20)
    assert (learned.points[-1] - plain.points[-1]).norm(dim=-1).min() > 1e-6


def test_a_sweep_is_a_batch():
    problem = Rosenbrock(2)
    x = start(problem, 1)[0]
    rates = torch.tensor([1e-4, 3e-4, 1e-3], dtype=torch.float64)
    group_rates = torch.tensor([1e-5, 1e-4, 0.0], dtype=torch.float64)
    together = descend_on_the_fly(problem, x.expand(3, 4), lr=rates, group_lr=group_rates, steps=4)
    for i in range(3):
        alone = descend_on_the_fly(problem, x, lr=float(rates[i]), group_lr=float(group_rates[i]), steps=4)
        assert_close(together.losses[:, i], alone.losses, rtol=1e-10, atol=1e-12)
        assert_close(together.coordinates[:, i], alone.coordinates, rtol=1e-10, atol=1e-12)


def test_forms_of_a_batch_each_have_their_run():
    forms, x = QuadraticForm.sample(2, (3,)), torch.randn(3, 2, dtype=torch.float64)
    together = descend_on_the_fly(forms, x, lr=0.02, group_lr=0.5, steps=5)
    alone = descend_on_the_fly(QuadraticForm(forms.matrix[1]), x[1], lr=0.02, group_lr=0.5, steps=5)
    assert_close(together.points[:, 1], alone.points, rtol=1e-12, atol=1e-13)


# --- what a rotation that has been learned is worth ---


def test_any_frozen_rotation_contracts_like_the_root_of_the_product_of_the_factors():
    """B x is multiplied by (1 - 2 alpha A) R: if cos^2 theta is small its eigenvalues are complex, of equal modulus."""
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64)))
    lr, steps = 0.04, 400
    factors = (1 - 2 * lr * form.spectrum[0]).abs()
    x = torch.ones(2, dtype=torch.float64)

    def rate(angle):
        theta = torch.tensor([angle], dtype=torch.float64)
        run = descend_on_the_fly(form, x, lr=lr, group_lr=0.0, steps=steps, coordinates=theta)
        return float((run.losses[-1] / run.losses[0]) ** (1 / (2 * steps)))

    # The bounded factor of the power, of condition 100 at most, to the power 1 / steps.
    slack = 100 ** (1 / steps)
    for angle in (0.8, 1.2, pi / 2):
        assert factors.prod().sqrt() / slack < rate(angle) < factors.prod().sqrt() * slack
    assert factors.max() / slack < rate(0.0) < factors.max() * slack
    assert factors.prod().sqrt() * slack < factors.max() / slack


def test_a_quarter_turn_at_the_rate_of_newton_ends_in_two_steps():
    """Each step wipes out the short axis and turns the long one onto it; descent at its best rate takes dozens."""
    form = QuadraticForm.sample(2, (5,), condition=30.0)
    x = torch.randn(5, 2, dtype=torch.float64)
    theta = torch.full((5, 1), pi / 2, dtype=torch.float64)
    rate = 1 / (2 * form.spectrum[0][..., 1])
    run = descend_on_the_fly(form, x, lr=rate, group_lr=0.0, steps=2, coordinates=theta)
    assert (run.losses[2] <= (100 * EPS) ** 2 * 30 * run.losses[0]).all()
    plain = descend(form, x, lr=reversal_rate(form), steps=20)
    assert (plain.losses[20] > 1e-8 * plain.losses[0]).all()


def test_rotations_drawn_anew_contract_like_the_mean_of_the_factors():
    """The phase is then uniform before every step: the mean of the logarithm over it, by the rule of rectangles."""
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64)))
    phase = torch.arange(4000, dtype=torch.float64) * (2 * pi / 4000)
    x = form.point(torch.stack([phase.cos(), phase.sin()], -1))
    for lr in (0.02, 0.04, 0.08):
        factors = (1 - 2 * lr * form.spectrum[0]).abs()
        losses = descend(form, x, lr=lr, steps=1).losses
        growth = (losses[1] / losses[0]).log().mean() / 2
        assert_close(growth, factors.mean().log(), rtol=1e-10, atol=0)


# --- optimizees ---


@dataclass(frozen=True)
class Of:
    """A test problem as an optimizee with one weight."""

    problem: object
    name: str = "of"
    batch: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ("w",)

    @property
    def group(self) -> Group:
        return self.problem.group

    def act(self, g, parameters, data):
        return {"w": self.problem.act(g, parameters["w"])}

    def units(self, parameters, data):
        return None

    def loss(self, parameters, data):
        return self.problem(parameters["w"])


@dataclass(frozen=True)
class Hidden:
    """GL(2) on the hidden layer of a linear network, a copy of it for each of two networks side by side."""

    name: str = "hidden"
    group: Group = GeneralLinear(2)
    batch: tuple[int, ...] = (2,)
    parameters: tuple[str, ...] = ("first", "second")
    spoilt: bool = False

    def act(self, g, parameters, data):
        second = parameters["second"] if self.spoilt else parameters["second"] @ torch.linalg.inv(g)
        return {"first": g @ parameters["first"], "second": second}

    def units(self, parameters, data):
        return None

    def loss(self, parameters, data):
        out = parameters["second"] @ parameters["first"] @ data["x"] + parameters["bias"]
        return (out - data["y"]).square().mean()


def networks(n):
    shapes = {"first": (2, 2, 3), "second": (2, 4, 2), "bias": (2, 4, 1)}
    weights = {name: torch.randn(n, *shape, dtype=torch.float64) for name, shape in shapes.items()}
    data = {name: torch.randn(n, 2, k, 6, dtype=torch.float64) for name, k in (("x", 3), ("y", 4))}
    return weights, data


@pytest.mark.parametrize(
    "problem", [Rosenbrock(), MatrixFactorization()], ids=["rosenbrock", "factorization"]
)
def test_an_optimizee_runs_as_its_problem_does(problem):
    action, x = Of(problem), start(problem, 4)
    assert isinstance(action, Action)
    rates = {"lr": 1e-3, "group_lr": torch.tensor([1e-4, 1e-3, 1e-5, 0.0]).double(), "steps": 5}
    found = train_on_the_fly(action.loss, action, {"w": x}, {"i": torch.arange(4)}, **rates)
    expected = descend_on_the_fly(problem, x, **rates)
    assert_close(found.points["w"], expected.points, rtol=1e-11, atol=1e-12)
    for name in ("losses", "gradient_norms", "gains", "coordinates"):
        assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


def test_a_network_with_several_elements():
    action, (weights, data) = Hidden(), networks(3)
    run = train_on_the_fly(action.loss, action, weights, data, lr=0.02, group_lr=0.01, steps=6)
    assert run.coordinates.shape == (7, 3, 2, 4)
    assert run.points["first"].shape == (7, 3, 2, 2, 3) and run.landings["bias"].shape == (6, 3, 2, 4, 1)
    # Inverses of exponentials of small matrices, condition below 10, and sums of at most 6 x 8 terms.
    assert (run.changes.abs() <= 10 * 48 * EPS).all()
    assert (run.losses[-1] < run.losses[0]).all() and (run.coordinates[-1] != 0).any(-1).all()
    assert_close(run.landings["bias"], run.points["bias"][:-1], rtol=0, atol=0)
    one = {name: t[1:2] for name, t in weights.items()}, {name: t[1:2] for name, t in data.items()}
    alone = train_on_the_fly(action.loss, action, *one, lr=0.02, group_lr=0.01, steps=6)
    assert_close(alone.losses[:, 0], run.losses[:, 1], rtol=1e-10, atol=1e-12)


def test_an_action_that_does_not_keep_the_loss_is_seen():
    action, (weights, data) = Hidden(spoilt=True), networks(3)
    run = train_on_the_fly(action.loss, action, weights, data, lr=0.02, group_lr=0.01, steps=6)
    assert run.changes[1:].abs().min() > 1e-4


# --- refusals ---


def test_what_does_not_fit_is_refused():
    problem, x = Booth(), torch.ones(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="at least 1 step; got 0"):
        descend_on_the_fly(problem, x, lr=0.1, group_lr=0.1, steps=0)
    with pytest.raises(ValueError, match=r"coordinates must have shape \(3, 1\); got \(3,\)"):
        descend_on_the_fly(problem, x, lr=0.1, group_lr=0.1, steps=1, coordinates=torch.zeros(3))

    @dataclass(frozen=True)
    class Shuffles(Of):
        @property
        def group(self) -> Group:
            return Permutation(2)

    with pytest.raises(ValueError, match=r"must be continuous; got .*of dimension 0"):
        train_on_the_fly(Of(problem).loss, Shuffles(problem), {"w": x}, {}, lr=0.1, group_lr=0.1, steps=1)


def test_the_element_is_not_composed_but_moved_in_its_coordinates():
    """After a quarter turn in two halves the element is the rotation by the sum of the angles."""
    form = QuadraticForm.sample(2)
    assert form.group == Orthogonal(2)
    x = torch.randn(2, dtype=torch.float64)
    run = descend_on_the_fly(form, x, lr=0.01, group_lr=0.5, steps=3)
    g = element(form.group, run.coordinates[2])
    assert_close(run.landings[2], form.act(g, run.points[2]))
