"""The level set without a symmetry: the step against its KKT system, the loss, and what is taken back."""

from math import inf

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from isoloss.symmetry import Symmetries
from isoloss.teleport import (
    SOLVERS,
    Balance,
    GradientNorm,
    LevelSetAscent,
    Loss,
    Point,
    QuadraticForm,
    Teleport,
    always,
)
from networks import backward, mlp, snapshot
from teleport.solvers.solving import Any, fourth_powers, point_of, solve, squared_norm, the_loss


class Function(nn.Module):
    """A function of one vector."""

    def __init__(self, f, w):
        super().__init__()
        self.w, self.f = nn.Parameter(w), f

    def forward(self):
        return self.f(self.w)


def at(f, w):
    model = Function(f, w.double())
    loss = Loss(model.__call__, model)
    names = {"w": model.w.detach()}
    return Point(names, dict(torch.func.grad(loss)(names)), {"w": 0.1}, loss)


def ellipsoid(n=6):
    q, _ = torch.linalg.qr(torch.randn(n, n).double())
    a = q @ torch.diag(torch.linspace(1, 4, n).double()) @ q.T
    return a, at(lambda w: 0.5 * w @ a @ w, torch.randn(n))


def network():
    model = mlp(5, 7, 3, activation=nn.Tanh).double()
    return point_of(model, torch.randn(9, 5).double(), torch.randn(9, 3).double())


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


@pytest.mark.parametrize("lower", [False, True])
def test_a_step_solves_the_quadratic_program(lower):
    """The KKT system, dense: [1/rho, grad L; grad L^T, 0] [d; m] = [grad f; L0 - L], with L = L0 at the start."""
    point = network()
    w, rho = flat(point.parameters), 1e-3

    def loss(flat_w):
        parts = flat_w.split([t.numel() for t in point.tensors.values()])
        return point.loss(
            {n: p.view(t.shape) for (n, t), p in zip(point.tensors.items(), parts, strict=True)}
        )

    gradient = torch.func.grad(loss)(w)
    ascent = 2 * torch.func.hessian(loss)(w) @ gradient * (-1 if lower else 1)
    n = len(w)
    kkt = torch.cat(
        [
            torch.cat([torch.eye(n).double() / rho, gradient[:, None]], 1),
            torch.cat([gradient, torch.zeros(1)])[None],
        ]
    )
    d = torch.linalg.solve(kkt, torch.cat([ascent, torch.zeros(1)]))[:n]
    solver = LevelSetAscent(1, rate=rho, corrections=0, tolerance=inf)
    found = solve(solver, GradientNorm(lower=lower), [], point, inf)
    assert_close(flat(found.displaced) - w, d, rtol=1e-9, atol=1e-13)


def test_the_loss_is_kept_to_second_order_and_corrections_keep_it_to_fourth():
    point = network()
    here = point.loss(point.tensors)
    change = {
        (k, r): (
            point.loss(
                solve(LevelSetAscent(1, corrections=k, tolerance=inf), GradientNorm(), [], point, r).displaced
            )
            - here
        )
        .abs()
        .item()
        for k in (0, 1)
        for r in (0.02, 0.01)
    }
    assert change[0, 0.02] / change[0, 0.01] == pytest.approx(4.0, rel=0.2)
    assert change[1, 0.02] < 1e-2 * change[0, 0.02]
    # A Newton step squares the error, of second order already.
    assert change[1, 0.02] / change[1, 0.01] == pytest.approx(16.0, rel=0.4)


@pytest.mark.parametrize(
    "objective",
    [GradientNorm(), GradientNorm(lower=True), Balance(), Any(fourth_powers)],
    ids=["norm", "lower", "parameters", "any"],
)
def test_it_improves_within_radius_and_tolerance(objective):
    point = network()
    found = solve(LevelSetAscent(8), objective, [], point, 0.2)
    w = flat(point.parameters)
    moved = flat(found.displaced) - w
    assert bool(found.after < found.before) is objective.lower
    assert 0.0 < moved.norm() <= 0.2 * w.norm() * (1 + 1e-12)
    assert found.size == pytest.approx((moved.norm() / w.norm()).item(), rel=1e-12)
    assert_close(point.loss(found.displaced), point.loss(point.tensors), rtol=1e-3, atol=0.0)


def test_the_hessian_vector_product_is_the_derivative():
    point = network()
    free = solve(LevelSetAscent(4), GradientNorm(), [], point, 0.1)
    paid = solve(LevelSetAscent(4), Any(squared_norm), [], point, 0.1)
    assert_close((free.before, free.after), (paid.before, paid.after), rtol=1e-11, atol=0.0)
    assert_close(dict(free.displaced), dict(paid.displaced), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lower", [False, True])
def test_on_an_ellipsoid_it_finds_the_axis_that_the_closed_form_gives(lower):
    """Lemma 4.5.6: the gradient norm on the level set lies within 2 c lambda, attained at eigenvectors."""
    a, point = ellipsoid()
    best = solve(QuadraticForm(), GradientNorm(lower=lower), [], point)
    extreme = torch.linalg.eigvalsh(a)[0 if lower else -1]
    assert_close(best.after, 2 * point.loss(point.tensors) * extreme, rtol=1e-12, atol=0.0)
    found = solve(LevelSetAscent(300, rate=0.02), GradientNorm(lower=lower), [], point, 20.0)
    assert_close(found.after, best.after, rtol=1e-3, atol=0.0)


def test_an_objective_that_is_constant_on_the_level_set_moves_nothing():
    for objective in (Any(the_loss), Any(lambda point, t: point.loss(t).exp())):
        found = solve(LevelSetAscent(3), objective, [], network())
        assert found.displaced is None and "changes the objective" in found.skipped


def test_what_leaves_the_level_set_is_taken_back():
    """Without corrections and with no tolerance, no step remains; with a little of it, short ones do."""
    point = network()
    strict = solve(LevelSetAscent(6, corrections=0, tolerance=1e-14), GradientNorm(), [], point, 0.5)
    assert strict.displaced is None and strict.skipped
    loose = solve(LevelSetAscent(12, corrections=0, tolerance=1e-3), GradientNorm(), [], point, 0.5)
    change = (point.loss(loose.displaced) / point.loss(point.tensors) - 1).abs()
    assert 0.0 < change <= 1e-3 and loose.size < 0.25


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.data / 16.0, dtype=torch.float32), torch.tensor(data.target)


def test_in_training_on_digits_it_keeps_the_loss_and_raises_the_gradient():
    x, y = digits()
    model = mlp(64, 32, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batch = slice(0, 128)

    def closure():
        return cross_entropy(model(x[batch]), y[batch])

    options = {"solver": LevelSetAscent(5), "loss": closure, "measure": closure, "max_loss_change": 2e-3}
    teleport = Teleport(optimizer, Symmetries((), model), schedule=lambda step: step in (5, 10), **options)
    jumps = []
    for step in range(15):
        batch = slice(100 * step % 1600, 100 * step % 1600 + 128)
        optimizer.zero_grad()
        closure().backward()
        jumps += [teleport.step()]
        optimizer.step()
    made = [jump for jump in jumps if jump]
    assert len(made) == 2
    for jump in made:
        assert jump.skipped is None
        assert jump.loss_after == pytest.approx(jump.loss_before, rel=2e-3)
        assert jump.measured_gradient_norm_after > 1.05 * jump.measured_gradient_norm_before
        assert jump.measured_gradient_norm_after == pytest.approx(jump.gradient_norm_after, rel=1e-4)


def test_beyond_the_bound_everything_is_rolled_back():
    model = mlp(5, 7, 3, activation=nn.Tanh).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = torch.randn(16, 5).double(), torch.randn(16, 3).double()
    backward(model, x, y)
    optimizer.step()
    backward(model, x, y)
    before = snapshot(model, optimizer)
    teleport = Teleport(
        optimizer,
        Symmetries((), model),
        schedule=always,
        solver=LevelSetAscent(2, corrections=0, tolerance=inf),
        loss=lambda: nn.functional.mse_loss(model(x), y),
        max_loss_change=1e-6,
        radius=0.3,
    )
    assert "undone" in teleport.step().skipped
    assert_close(snapshot(model, optimizer), before, rtol=0.0, atol=0.0)


def test_it_says_what_it_needs():
    point = network()
    blind = Point(point.tensors, point.gradients, point.rates)
    with pytest.raises(ValueError, match="must evaluate the loss at other parameters; got none"):
        solve(LevelSetAscent(), GradientNorm(), [], blind)
    for bad in (
        {"steps": 0},
        {"corrections": -1},
        {"tolerance": float("nan")},
        {"rate": -1.0},
        {"steps": "3"},
    ):
        with pytest.raises(ValueError, match=f"LevelSetAscent: {next(iter(bad))} must be .*; got"):
            LevelSetAscent(**bad)


def test_it_is_registered():
    assert SOLVERS["level-set-ascent"] is LevelSetAscent
