"""Lemmas 4.5.5 and 4.5.6, Propositions 4.5.7 and 4.5.8."""

import pytest
import torch
from torch.func import grad, vmap
from torch.testing import assert_close

from isoloss.groups import Orthogonal
from isoloss.problems import QuadraticForm, Rosenbrock, SteepestRotation, descend, squared_gradient
from isoloss.teleport.theory import connecting, flow, steepest

EPS = torch.finfo(torch.float64).eps
FORM = QuadraticForm.sample(4, condition=30.0, generator=torch.Generator().manual_seed(5))
A = FORM.matrix


def on_the_level_set_of(w, count=4000):
    """Random points of the level set of w: the ellipsoid, uniform in the coordinates where it is a sphere."""
    u = torch.randn(count, len(w), dtype=w.dtype)
    return FORM.point(u / u.norm(dim=-1, keepdim=True) * FORM(w).sqrt())


def test_one_element_leads_from_any_point_of_a_level_set_to_any_other():
    w = torch.randn(4, dtype=torch.float64)
    for to in on_the_level_set_of(w, 20):
        g = connecting(A, w, to)
        assert FORM.group.contains(g)
        # Two roots of A and back: eps times its condition number, 30, per operation on 4 entries.
        assert_close(FORM.act(g, w), to, rtol=0, atol=64 * 4 * EPS * 30 * float(w.norm() + to.norm()))
    assert_close(connecting(A, w, w), torch.eye(4, dtype=torch.float64), rtol=0, atol=0)


def test_points_of_different_value_are_not_connected():
    """Negative control: the element only turns the direction."""
    w = torch.randn(4, dtype=torch.float64)
    g = connecting(A, w, 2 * w)
    assert FORM.group.contains(g)
    assert (FORM.act(g, w) - 2 * w).norm() > 0.5 * w.norm()


def test_zero_is_connected_with_nothing():
    w, zero = torch.randn(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for pair in ((w, zero), (zero, w), (zero, zero)):
        with pytest.raises(ValueError, match="both points must have values above 0; got"):
            connecting(A, *pair)


def test_the_steepest_point_is_on_the_level_set_and_beats_all_others():
    w = torch.randn(4, dtype=torch.float64)
    best, others = steepest(A, w), on_the_level_set_of(w)
    values = torch.linalg.eigvalsh(A)
    assert_close(FORM(best), FORM(w))
    assert_close(squared_gradient(FORM, best), 4 * FORM(w) * values[-1])
    assert_close(A @ best, values[-1] * best)
    assert (squared_gradient(FORM, others) <= squared_gradient(FORM, best) * (1 + 1e-12)).all()
    # The bound is sharp: some of the others come near.
    assert squared_gradient(FORM, others).max() > 0.9 * squared_gradient(FORM, best)


def test_it_is_also_the_nearest_to_the_minimum():
    """Prop. 4.5.8."""
    w = torch.randn(4, dtype=torch.float64)
    best, others = steepest(A, w), on_the_level_set_of(w)
    assert (others.norm(dim=-1) >= best.norm() * (1 - 1e-12)).all()
    assert_close(best.norm() ** 2, FORM(w) / torch.linalg.eigvalsh(A)[-1])


def test_equation_4_44_has_the_eigenvalue_upside_down():
    """From (4.43), w' = lambda A w': lambda is one over the eigenvalue. As printed, A w' = lambda w' fails."""
    best = steepest(A, torch.randn(4, dtype=torch.float64))
    multiplier = (best @ best) / (best @ A @ best)
    assert_close(best, multiplier * A @ best)
    assert (A @ best - multiplier * best).norm() > best.norm()


def test_of_the_two_signs_the_nearer_is_taken():
    w = torch.randn(50, 4, dtype=torch.float64)
    best = vmap(lambda w: steepest(A, w))(w)
    assert ((best - w).norm(dim=-1) <= (best + w).norm(dim=-1)).all()


def test_after_one_jump_the_whole_flow_is_steepest():
    """Prop. 4.5.7, along the exact flow; a start that is not steepest does not become so."""
    times = torch.linspace(0, 0.1, 9, dtype=torch.float64)
    w = torch.randn(4, dtype=torch.float64)
    along = flow(A, steepest(A, w), times)
    # What rounding leaves of the other directions grows, relatively, by e^{2 (30 - 1) 0.1} = 330.
    assert_close(
        squared_gradient(FORM, along), 4 * torch.linalg.eigvalsh(A)[-1] * FORM(along), rtol=1e-9, atol=0
    )
    plain = flow(A, w, times)
    assert (squared_gradient(FORM, plain) < 3.99 * torch.linalg.eigvalsh(A)[-1] * FORM(plain)).all()


def test_the_flow_is_the_flow():
    w = torch.randn(4, dtype=torch.float64)
    _, velocity = torch.func.jvp(
        lambda t: flow(A, w, t), (torch.tensor(0.3).double(),), (torch.tensor(1.0).double(),)
    )
    assert_close(velocity, -grad(FORM)(flow(A, w, 0.3)))
    assert_close(flow(A, w, 0.0), w)


def test_the_steepest_point_is_found_by_a_random_search_over_the_group():
    """The maximum over the orbit is the one over the level set (Lemma 4.5.5): in 2 dimensions, by trying angles."""
    form = QuadraticForm.sample(2, condition=5.0)
    w = torch.randn(2, dtype=torch.float64)
    found = form.act(SteepestRotation()(form, w), w)
    best = steepest(form.matrix, w)
    distance = torch.minimum((found - best).norm(), (found + best).norm())
    assert distance < 1e-6 * best.norm()  # an angle at a maximum is found to the root of eps


def test_on_rosenbrock_one_jump_is_not_enough_nor_nearest():
    """Negative control: the function is a circle in other variables, but no quadratic form in these."""
    problem, start = Rosenbrock(), torch.tensor([-1.0, -1.0], dtype=torch.float64)
    best = SteepestRotation()
    run = descend(problem, start, lr=1e-5, steps=200, jumps=[0], teleport=best)
    here = run.points[-1]
    there = problem.act(best(problem, here), here)
    assert squared_gradient(problem, there) > 1.5 * run.squared_gradients[-1]
    landed = run.points[0]
    turned = problem.act(Orthogonal(2).sample((500,), scale=3.0, dtype=torch.float64), landed)
    assert ((turned - 1).norm(dim=-1) < 0.5 * (landed - 1).norm()).any()
