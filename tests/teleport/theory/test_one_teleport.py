"""Propositions 4.5.14 to 4.5.16."""

import pytest
import torch
from torch.func import grad, hessian, jacfwd, vmap
from torch.testing import assert_close

from isoloss.problems import Booth, QuadraticForm, Rosenbrock, SteepestRotation
from isoloss.teleport.theory import (
    derivation,
    misalignment,
    misalignment_along_flow,
    one_teleport_is_enough,
    reverse_gradient,
    steepest,
    turned_gradient,
)

EPS = torch.finfo(torch.float64).eps


def wild(w):
    """No symmetry, no convexity, all derivatives."""
    return (
        (w**4).sum() / 4
        + (w[0] * w[1] + w[2]).sin()
        + (w * torch.arange(1.0, 4.0, dtype=w.dtype)).square().sum()
    )


def unit(i, j, n=3):
    m = torch.zeros(n, n, dtype=torch.float64)
    m[i, j], m[j, i] = 1, -1
    return m


def double_line(w):
    """The counterexample of the docstring: the flow leaves the optimal line y = 1."""
    x, y = w
    return x**2 / 2 + y**2 / 2 + (y - 1) ** 4 / 12


def triple_line(w):
    """The same with a sign change: on y = 1 the gradient is a strict local maximum. L_yy = 1 + 8 t^3 (t - 1)^3 > 0."""
    x, y = w
    t = y - 1
    return x**2 / 2 + y**2 / 2 + 8 * (t**8 / 56 - t**7 / 14 + t**6 / 10 - t**5 / 20)


def test_the_closed_form_is_the_literal_bracket_for_every_turned_gradient():
    w = torch.randn(3, dtype=torch.float64)
    closed = one_teleport_is_enough(wild, w)
    pairs = [(0, 1), (0, 2), (1, 2)]
    literal = one_teleport_is_enough(wild, w, [turned_gradient(wild, unit(i, j)) for i, j in pairs])
    for k, (i, j) in enumerate(pairs):
        # Sums of some tens of terms no larger than the sizes given.
        bound = 64 * EPS * float(literal.bracket_size[k] + literal.derivative_size[k])
        assert_close(closed.brackets[i, j], literal.brackets[k], rtol=0, atol=bound)
        assert_close(closed.derivatives[i, j], literal.derivatives[k], rtol=0, atol=bound)
        assert_close(closed.thirds[i, j], literal.thirds[k], rtol=0, atol=bound)
        assert_close(closed.brackets[j, i], -closed.brackets[i, j], rtol=0, atol=0)


def test_the_bracket_is_minus_the_derivative_of_the_squared_gradient():
    """Prop. 4.5.14, for a field that is tangent but no constant turn of the gradient."""
    w = torch.randn(3, dtype=torch.float64)

    def field(w):
        return w.square().sum() * turned_gradient(wild, unit(0, 2))(w)

    result = one_teleport_is_enough(wild, w, [field])
    minus = -derivation(field, lambda w: grad(wild)(w).square().sum())(w)
    assert_close(result.brackets[0], minus, rtol=0, atol=64 * EPS * float(result.bracket_size[0]))


def test_for_a_field_across_the_level_sets_it_is_not():
    """Negative control: then R A L is not 0."""
    w = torch.randn(3, dtype=torch.float64)

    def outward(w):
        return w

    result = one_teleport_is_enough(wild, w, [outward])
    minus = -derivation(outward, lambda w: grad(wild)(w).square().sum())(w)
    assert abs(result.brackets[0] - minus) > 0.1 * abs(minus)


def test_the_derivative_is_that_along_the_flow():
    """R [A, R] L is the time derivative of the bracket on the flow; eq. (4.53) has a minus too many."""
    w = torch.randn(3, dtype=torch.float64)
    r = reverse_gradient(wild)

    def brackets(w):
        return one_teleport_is_enough(wild, w).brackets

    along = jacfwd(lambda t: brackets(w + t * r(w)))(torch.zeros((), dtype=torch.float64))
    result = one_teleport_is_enough(wild, w)
    assert_close(along, result.derivatives, rtol=0, atol=64 * EPS * float(result.derivative_size.max()))
    assert (result.derivatives.abs() > 1e-3 * result.derivative_size).any()


def test_at_an_optimal_point_only_the_third_derivative_is_left():
    """Prop. 4.5.16, eq. (C.53), with the whole tensor."""
    w = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)

    def loss(w):  # on the axes the gradient is along the axis, and so is H p; T[p, p] is not
        return (w**2 * torch.tensor([1.0, 2.0, 3.0])).sum() + (w[1] - 1) ** 2 * w[0] + w[2] ** 3

    result = one_teleport_is_enough(loss, w)
    p, t = grad(loss)(w), jacfwd(hessian(loss))(w)
    tpp = torch.einsum("ijk,j,k->i", t, p, p)
    expected = 2 * (tpp[:, None] * p - p[:, None] * tpp)
    assert result.optimal() and not result.holds()
    assert_close(result.thirds, expected, rtol=0, atol=64 * EPS * float(result.derivative_size.max()))
    assert_close(result.derivatives, expected, rtol=0, atol=64 * EPS * float(result.derivative_size.max()))


@pytest.mark.parametrize("seed", range(3))
def test_on_a_quadratic_form_one_teleport_is_enough(seed):
    form = QuadraticForm.sample(4, generator=torch.Generator().manual_seed(seed))
    w = steepest(form.matrix, torch.randn(4, dtype=torch.float64))
    result = one_teleport_is_enough(form, w)
    assert result.optimal() and result.holds()
    sines, points = misalignment_along_flow(form, w, time=0.2, steps=50)
    # Rounding off the eigenvector grows: the other directions decay more slowly, by e^{2 (10 - 1) 0.2} = 40.
    assert (sines < 64 * 4 * EPS * 40 * 10).all()
    assert form(points[-1]) < 0.1 * form(points[0])


def test_without_the_jump_it_is_not():
    """Negative control: the same form, from a random point."""
    form = QuadraticForm.sample(4)
    w = torch.randn(4, dtype=torch.float64)
    assert not one_teleport_is_enough(form, w).optimal()
    sines, _ = misalignment_along_flow(form, w, time=0.05, steps=10)
    assert (sines > 1e-3).all()


def test_on_booth_it_is_enough_and_on_rosenbrock_not():
    for problem, enough in ((Booth(), True), (Rosenbrock(), False)):
        w = torch.tensor([-1.0, 0.5], dtype=torch.float64)
        w = problem.act(SteepestRotation(grid=2048, refinements=60)(problem, w), w)
        result = one_teleport_is_enough(problem, w)
        assert result.optimal(1e-6)
        assert bool(result.holds(1e-6)) == enough
        sines, _ = misalignment_along_flow(problem, w, time=0.01, steps=80)
        assert (sines < 1e-5).all() if enough else sines.max() > 0.1


@pytest.mark.parametrize("loss", [double_line, triple_line])
def test_props_4_5_15_and_4_5_16_are_false_as_stated(loss):
    """The condition holds at every optimal point, the start is optimal, and the flow is not."""
    start = torch.tensor([2.0, 1.0], dtype=torch.float64)
    assert one_teleport_is_enough(loss, start).optimal(0.0)

    # All optimal points: x = 0, L_y = 0 (at y = y0) and the lines where L_yy = 1. The condition holds on each.
    y0 = bisect(lambda y: grad(loss)(torch.stack([y * 0, y]))[1], -1.0, 1.0)
    lines = {double_line: [1.0], triple_line: [1.0, 2.0]}[loss]
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    optimal = [torch.stack([0 * x, x + 0.1234], -1), torch.stack([x + 0.1234, 0 * x + y0], -1)]
    optimal += [torch.stack([x + 0.1234, 0 * x + y], -1) for y in lines]
    for w in torch.cat(optimal):
        result = one_teleport_is_enough(loss, w)
        assert result.optimal() and result.holds()

    # There are no others: the bracket is 2 L_x L_y (L_yy - 1), up to the sign of the field.
    w = torch.rand(200, 2, dtype=torch.float64) * 4 - 1
    p, h = vmap(grad(loss))(w), vmap(hessian(loss))(w)
    known = 2 * p[:, 0] * p[:, 1] * (h[:, 1, 1] - 1)
    brackets = vmap(lambda w: one_teleport_is_enough(loss, w).brackets)(w)[:, 0, 1]
    assert_close(brackets.abs(), known.abs(), rtol=1e-9, atol=1e-11 * float(known.abs().max()))
    assert (torch.linalg.eigvalsh(h) > 0).all(), "and the function is convex there"

    sines, points = misalignment_along_flow(loss, start, time=1.0, steps=100)
    assert sines[0] == 0 and sines.max() > 0.05
    assert points[-1, 1] < 0.6, "the flow has left the line"


def test_the_second_counterexample_starts_at_a_maximum_of_its_level_set():
    """So that the failure is not one of calling critical points optimal."""
    start = torch.tensor([2.0, 1.0], dtype=torch.float64)
    y = 1 + torch.linspace(-0.1, 0.1, 201, dtype=torch.float64)
    rest = triple_line(torch.stack([0 * y, y]))
    x = (2 * (triple_line(start) - rest)).sqrt()
    norms = vmap(lambda w: grad(triple_line)(w).square().sum())(torch.stack([x, y], -1))
    assert norms.argmax() == 100
    assert norms[0] < norms[100] and norms[-1] < norms[100]


def test_the_mended_condition_tells_the_two_cases_apart():
    """|R [A, R] L| <= C |[A, R] L| along the flow: C stays put for a quadratic form, and not in the counterexample."""
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64)))
    near = torch.tensor([1e-5, 1.0], dtype=torch.float64)

    def constant(loss, w):
        result = one_teleport_is_enough(loss, w)
        return float(result.derivatives[0, 1].abs() / result.brackets[0, 1].abs())

    assert constant(form, near) < 20 and constant(form, near / 1e3) < 20
    distances = [1e-1, 1e-2, 1e-3]
    constants = [constant(double_line, torch.tensor([2.0, 1 - d], dtype=torch.float64)) for d in distances]
    # Like 2 |velocity| / distance: ten times larger each time.
    assert constants[2] > 5 * constants[1] > 25 * constants[0] / 2


def test_it_runs_on_a_batch_and_under_vmap():
    w = torch.randn(5, 3, dtype=torch.float64)
    batch = vmap(lambda w: one_teleport_is_enough(wild, w))(w)
    single = one_teleport_is_enough(wild, w[3])
    assert batch.brackets.shape == (5, 3, 3)
    assert_close(batch.derivatives[3], single.derivatives)
    assert vmap(lambda w: one_teleport_is_enough(wild, w).holds())(w).all()
    assert vmap(lambda w: misalignment(wild, w))(w).shape == (5,)


def bisect(f, low, high):
    low, high = torch.tensor([low, high], dtype=torch.float64).unbind()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return (low + high) / 2
