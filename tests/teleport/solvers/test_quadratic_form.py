"""Lemma 4.5.6: the best point of an ellipsoid."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.symmetry import Symmetries
from isoloss.teleport import SOLVERS, Balance, GradientNorm, QuadraticForm, Teleport, always
from networks import mlp
from teleport.solvers.solving import point_of, solve
from teleport.solvers.test_level_set_ascent import at, ellipsoid


@pytest.mark.parametrize("lower", [False, True])
def test_it_jumps_to_an_eigenvector_on_the_same_level(lower):
    a, point = ellipsoid()
    found = solve(QuadraticForm(), GradientNorm(lower=lower), [], point)
    w, extreme = found.displaced["w"], torch.linalg.eigvalsh(a)[0 if lower else -1]
    assert_close(a @ w, extreme * w, rtol=1e-11, atol=1e-12)
    assert_close(point.loss({"w": w}), point.loss(point.tensors), rtol=1e-13, atol=0.0)
    assert_close(found.before, (a @ point.tensors["w"]).square().sum(), rtol=1e-13, atol=0.0)
    assert_close(found.after, (a @ w).square().sum(), rtol=1e-13, atol=0.0)
    assert w @ point.tensors["w"] > 0  # the nearer of the two


def test_no_point_of_the_level_set_has_more_or_is_nearer():
    """Lemma 4.5.6 and Prop. 4.5.8, against random points w' = A^-1/2 r A^1/2 w of Eq. (4.33)."""
    a, point = ellipsoid()
    found = solve(QuadraticForm(), GradientNorm(), [], point)
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.sqrt()) @ vectors.T
    for _ in range(200):
        q, _ = torch.linalg.qr(torch.randn(6, 6).double())
        w = torch.linalg.solve(root, q @ (root @ point.tensors["w"]))
        assert (a @ w).square().sum() <= found.after
        assert w.norm() >= found.displaced["w"].norm()


def test_a_minimum_elsewhere_and_flat_directions():
    """Linear least squares with fewer examples than parameters: the flat directions stay as they are."""
    model = nn.Linear(7, 1).double()
    x, y = torch.randn(5, 7).double(), torch.randn(5, 1).double()
    point = point_of(model, x, y)
    found = solve(QuadraticForm(), GradientNorm(), [], point)
    assert_close(point.loss(found.displaced), point.loss(point.tensors), rtol=1e-12, atol=0.0)
    design = torch.cat([x, torch.ones(5, 1).double()], 1)
    largest = torch.linalg.eigvalsh(2 * design.T @ design / 5)[-1]
    assert_close(found.after, 2 * point.loss(point.tensors) * largest, rtol=1e-10, atol=0.0)
    moved = torch.cat([(found.displaced[n] - t).reshape(-1) for n, t in point.tensors.items()])
    flat = torch.linalg.svd(design)[2][5:]
    assert (flat @ moved).abs().max() < 1e-12


def test_one_teleport_is_enough():
    """Prop. 4.5.7: gradient descent from there stays on the axis, where the norm is the largest of its level."""
    a, point = ellipsoid()
    w = solve(QuadraticForm(), GradientNorm(), [], point).displaced["w"]
    for _ in range(20):
        w = w - 0.05 * a @ w
        again = solve(QuadraticForm(), GradientNorm(), [], at(lambda v: 0.5 * v @ a @ v, w))
        assert_close(again.after, again.before, rtol=1e-11, atol=0.0)


def test_what_is_no_ellipsoid_is_left_alone():
    point = at(lambda w: w.pow(4).sum() + w.square().sum(), torch.randn(4))
    assert "not quadratic" in solve(QuadraticForm(), GradientNorm(), [], point).skipped
    point = at(lambda w: w[0].square() - w[1].square(), torch.randn(2))
    assert "no ellipsoid" in solve(QuadraticForm(), GradientNorm(), [], point).skipped
    point = at(lambda w: w.sum(), torch.randn(2))
    assert "no ellipsoid" in solve(QuadraticForm(), GradientNorm(), [], point).skipped


def test_it_says_what_it_needs():
    _, point = ellipsoid()
    with pytest.raises(TypeError, match=r"must be GradientNorm\(\).*; got Balance"):
        solve(QuadraticForm(), Balance(), [], point)
    two = replace(point, rates={"w": 0.1, "v": 0.2})
    with pytest.raises(ValueError, match=r"must have one learning rate.*; got relative rates \[0.5, 1.0\]"):
        solve(QuadraticForm(), GradientNorm(), [], two)
    with pytest.raises(ValueError, match="at most 5 parameters is formed; got 6"):
        solve(QuadraticForm(5), GradientNorm(), [], point)


def test_in_training_a_linear_regression_jumps_once_and_for_all():
    model = mlp(4, 1).double()
    x, y = torch.randn(30, 4).double(), torch.randn(30, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def closure():
        return nn.functional.mse_loss(model(x), y)

    closure().backward()
    options = {"schedule": always, "solver": QuadraticForm(), "loss": closure, "measure": closure}
    jump = Teleport(optimizer, Symmetries((), model), **options).step()
    assert jump.loss_after == pytest.approx(jump.loss_before, rel=1e-12)
    assert jump.measured_gradient_norm_after == pytest.approx(jump.after**0.5, rel=1e-10)
    assert jump.after > jump.before


def test_it_is_registered():
    assert SOLVERS["quadratic-form"] is QuadraticForm
