"""Appendix B of the 2025 paper: the closed form in the plane, and what it says about the direction."""

from math import pi, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad
from torch.testing import assert_close

from isoloss.learn.on_the_fly import angle_slope, descend_on_the_fly, published_angle_slope, reversal_rate
from isoloss.problems import QuadraticForm, rotation

EPS = torch.finfo(torch.float64).eps
cases = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**31 - 1)


def drawn(seed, n=8):
    """Forms of condition 1.2 to 100 and points and angles for them."""
    g = torch.Generator().manual_seed(seed)
    condition = 1.2 + 98.8 * torch.rand((), generator=g, dtype=torch.float64)
    form = QuadraticForm.sample(2, (n,), condition=float(condition), generator=g)
    x = torch.randn(n, 2, generator=g, dtype=torch.float64)
    return form, x, 6 * torch.rand(n, generator=g, dtype=torch.float64)


def next_loss(form, x, angle, lr):
    """One step of Algorithm 2 and the loss after it, with B as a matrix."""
    values, vectors = form.spectrum
    b = (vectors * values.sqrt().unsqueeze(-2)) @ vectors.mT
    y = torch.linalg.solve(b, rotation(angle) @ b @ x.unsqueeze(-1))
    x = y - lr * 2 * form.matrix @ y
    return (x.mT @ form.matrix @ x).flatten()


def phase(form, y):
    """The angle from the long axis to B y, counter-clockwise, modulo pi."""
    u = (form.spectrum[1].mT @ form.residual(y).unsqueeze(-1)).squeeze(-1)
    turned = torch.linalg.det(form.spectrum[1])  # the eigenvectors may be a reflection
    return torch.remainder(torch.atan2(turned * u[..., 1], u[..., 0]), pi)


@cases
@given(seeds, st.floats(0.0, 1.5))
def test_the_closed_form_is_the_derivative(seed, share):
    form, x, angle = drawn(seed)
    lr = share * float(reversal_rate(form)[0])
    expected = grad(lambda t: next_loss(form, x, t, lr).sum())(angle)
    found = angle_slope(form, x, angle, lr)
    # Two square roots and a solve of condition 10 at most; losses of size f(x) times the squared shrinking factors.
    size = 4 * (1 + 2 * lr * 100) ** 2 * form(x)
    assert ((found - expected).abs() <= 200 * 10 * EPS * size).all()
    values = form.spectrum[0]
    sine = (2 * phase(form, form.act(rotation(angle), x))).sin()
    spread = values[..., 1] - values[..., 0]
    short = -4 * lr * spread * (1 - lr * values.sum(-1)) * form(x) * sine
    assert ((found - short).abs() <= 200 * 10 * EPS * size).all()


def test_one_step_of_the_algorithm_takes_it():
    form, x, angle = drawn(1)
    run = descend_on_the_fly(form, x, lr=0.01, group_lr=0.3, steps=1, coordinates=angle[:, None])
    expected = angle - 0.3 * angle_slope(form, x, angle, 0.01)
    assert_close(run.coordinates[1, :, 0], expected, rtol=1e-12, atol=1e-12)


def test_what_appendix_b_prints_is_wrong():
    """A = diag(1, 4), alpha = 1/16, B x = (1, 1): at a quarter turn the printed derivative has the wrong sign."""
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    x, lr = form.point(torch.ones(2, dtype=torch.float64)), 1 / 16
    zero = torch.zeros((), dtype=torch.float64)
    shrink = [(1 - 2 * lr * 1) ** 2, (1 - 2 * lr * 4) ** 2]
    expected = torch.tensor(2 * (shrink[1] - shrink[0]), dtype=torch.float64)
    for angle, sign in ((zero, 1), (zero + pi / 2, -1), (zero + pi, 1)):
        assert_close(angle_slope(form, x, angle, lr), sign * expected)
        assert_close(published_angle_slope(form, x, lr), expected)


@cases
@given(seeds)
def test_the_print_is_right_where_the_angle_is_that_of_the_first_eigenvector(seed):
    """And elsewhere on average far off: the derivative changes sign with the angle, the print does not."""
    form, x, angle = drawn(seed)
    lr = 0.3 * float(reversal_rate(form)[0])
    first = form.spectrum[1][..., 0]
    at = torch.atan2(first[..., 1], first[..., 0])
    size = 400 * 10 * EPS * form(x)
    for turn in (0, pi):
        assert (
            (angle_slope(form, x, at + turn, lr) - published_angle_slope(form, x, lr)).abs() <= size
        ).all()
    quarter = angle_slope(form, x, at + pi / 2, lr) + published_angle_slope(form, x, lr)
    assert (quarter.abs() <= size).all()


@cases
@given(seeds, st.floats(0.05, 0.95), st.floats(1.05, 3.0))
def test_it_turns_to_the_short_axis_below_the_reversal_rate_and_to_the_long_one_beyond(seed, below, above):
    form, x, angle = drawn(seed)
    y = form.act(rotation(angle), x)
    here = phase(form, y)
    for share, goal in ((below, pi / 2), (above, 0.0)):
        lr = share * float(reversal_rate(form)[0])
        slope = angle_slope(form, x, angle, lr)
        after = phase(form, form.act(rotation(angle - 1e-6 * slope / slope.abs()), x))
        apart = [torch.minimum((p - goal).abs(), pi - (p - goal).abs()) for p in (here, after)]
        assert (apart[1] < apart[0]).all()


def test_at_the_reversal_rate_nothing_is_learned_and_descent_is_at_its_best():
    form, x, angle = drawn(3)
    rate = reversal_rate(form)
    values = form.spectrum[0]
    assert (angle_slope(form, x, angle, rate).abs() <= 200 * 10 * EPS * form(x)).all()
    run = descend_on_the_fly(form, x, lr=rate, group_lr=1e3 / form(x), steps=5)
    assert (run.coordinates.abs() <= 5 * 1e3 * 200 * 10 * EPS).all()

    def slowest(lr):
        return (1 - 2 * lr.unsqueeze(-1) * values).abs().amax(-1)

    assert (slowest(rate) < slowest(0.99 * rate)).all() and (slowest(rate) < slowest(1.01 * rate)).all()
    assert_close(slowest(rate), (values[:, 1] - values[:, 0]) / values.sum(-1))


def test_the_rates_of_the_descent_lemma_are_below_it():
    """alpha <= 1 / L with L = 2 lambda_2; equality with a circle only, where nothing can be learned."""
    form, _, _ = drawn(4)
    assert (1 / (2 * form.spectrum[0][..., 1]) < reversal_rate(form)).all()
    assert (reversal_rate(form) < 1 / form.spectrum[0][..., 1]).all(), "descent still converges beyond it"


def test_one_update_passes_the_axis_only_beyond_the_bound():
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    start = torch.linspace(0.01, pi / 2 - 0.01, 50, dtype=torch.float64)
    x = form.point(torch.stack([start.cos(), start.sin()], -1))
    lr = 0.05
    unit = 4 * lr * 3 * (1 - lr * 5)  # f(x) = 1
    for factor, passes in ((0.5, False), (0.6, True)):
        after = start - factor / unit * angle_slope(form, x, torch.zeros_like(start), lr)
        assert (after > start).all()
        assert bool((after > pi / 2).any()) == passes


def test_it_is_fastest_halfway_between_the_axes_in_the_coordinates_of_the_rotation():
    """On the level set in the plane that is the angle arctan sqrt(l1 / l2); on a circle 45 degrees."""
    form, n = QuadraticForm(torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))), 9000
    t = torch.arange(n, dtype=torch.float64) * (pi / 2 / n)
    circle = torch.stack([t.cos(), t.sin()], -1)
    zero, grid = torch.zeros(n, dtype=torch.float64), pi / 2 / n

    def fastest(x):
        return int(angle_slope(form, x, zero, 0.02).abs().argmax())

    level = form.point(circle)
    assert abs(float(t[fastest(level)]) - pi / 4) <= grid
    in_plane = torch.atan2(level[..., 1], level[..., 0])[fastest(level)]
    assert abs(float(in_plane.tan()) - sqrt(1 / 9)) <= 3 * grid
    assert abs(float(t[fastest(circle)]) - pi / 4) <= grid


@pytest.mark.parametrize(("lr", "nearest"), [(0.02, 2), (0.12, 1), (0.4, 0)])
def test_in_space_it_descends_to_the_eigenvalue_nearest_to_one_over_two_alpha(lr, nearest):
    """The loss after the step over the orbit is least there; eigenvalues 1, 4 and 9, 1 / 2 alpha of 25, 4.2, 1.25."""
    form = QuadraticForm()
    values = form.spectrum[0]
    assert int((values - 1 / (2 * lr)).abs().argmin()) == nearest
    x, theta = torch.randn(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    size = (1 - 2 * lr * values).square().max() * form(x)
    for _ in range(400):
        run = descend_on_the_fly(form, x, lr=lr, group_lr=0.2 / size, steps=1, coordinates=theta)
        theta = run.coordinates[-1]
    u = form.residual(run.landings[-1])
    assert u[nearest].abs() / u.norm() > 1 - 1e-6


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="angle_slope: .* of the plane; got a form of 3 variables"):
        angle_slope(QuadraticForm(), torch.ones(3), torch.zeros(()), 0.1)
    with pytest.raises(ValueError, match="published_angle_slope: the closed form is that of the plane"):
        published_angle_slope(QuadraticForm(), torch.ones(3), 0.1)
    with pytest.raises(ValueError, match="reversal_rate: the closed form is that of the plane"):
        reversal_rate(QuadraticForm())
