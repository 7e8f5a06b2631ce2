"""The failures of the straight line, Propositions 3.3.3 to 3.3.6: built, measured, and against the closed forms."""

import itertools
from math import sqrt

import pytest
import torch
from torch.testing import assert_close

from connect.points import draw
from isoloss.connect import Line, barrier, orbit_curve
from isoloss.connect.failures import (
    HomogeneousRegression,
    bounded_barrier,
    distance_bound,
    distant_factors,
    permutations,
    permuted_losses,
    unbounded_barrier,
    unbounded_barrier_permuted,
)
from isoloss.groups import PositiveScaling
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry

DEGREES = [0.5, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_both_ends_are_minima_on_one_curve_of_minima(degree, slope):
    problem = HomogeneousRegression.random(degree=degree, slope=slope)
    a, b = unbounded_barrier(problem, 100.0)
    # The weights of b are large: the outputs round in proportion.
    assert problem(a) == 0.0 and problem(b) < 1e-20 * problem.target.square().sum()
    whole = {n: Block.whole(tuple(w.shape)) for n, w in a.items()}
    slots = Slot("first", whole["first"], ()), Slot("second", whole["second"], (), -degree)
    symmetries = Symmetries([Symmetry(PositiveScaling(1), slots)])
    m = (b["first"] / a["first"]).mean().reshape(1)
    gamma = orbit_curve(a, symmetries, [m])
    assert_close(gamma.end, b, rtol=1e-10, atol=1e-10)
    assert barrier(a, b, problem, gamma).losses.max() < 1e-18 * problem.target.square().sum()


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("height", [0.0, 1.0, 1e4])
def test_proposition_3_3_3_the_middle_is_above_any_height(degree, height):
    problem = HomogeneousRegression.random(degree=degree)
    a, b = unbounded_barrier(problem, height)
    found = barrier(a, b, problem, n=11)
    assert found.losses[5] > height
    assert found.height > height * (1 - 1e-9)


def test_the_published_factor_fails_below_degree_one():
    """m = (2^(k+1) (sqrt b / |Y| + 1) - 1)^k, as printed: for k = 1/2 the middle stays below b."""
    problem, b = HomogeneousRegression.random(degree=0.5), 1e4
    beta = sqrt(b) / float(problem.target.norm()) + 1
    half = torch.tensor(0.5).double()
    published = (2**1.5 * beta - 1) ** 0.5
    assert problem.between(half, published) < b
    for k in (1.0, 2.0):  # where it works
        problem = HomogeneousRegression.random(degree=k)
        beta = sqrt(b) / float(problem.target.norm()) + 1
        assert problem.between(half, (2 ** (k + 1) * beta - 1) ** k) > b


@pytest.mark.parametrize("k", DEGREES)
def test_the_published_proof_holds_with_the_exponent_that_its_equation_asks_for(k):
    """Eq. (B.7), 2^-(k+1) (1 + m^-k) = sqrt b / |Y| + 1, is solved by the exponent -1/k, for every degree."""
    problem, b = HomogeneousRegression.random(degree=k), 1e4
    beta = sqrt(b) / float(problem.target.norm()) + 1
    m = (2 ** (k + 1) * beta - 1) ** (-1 / k)
    assert 2 ** -(k + 1) * (1 + m**-k) == pytest.approx(beta)
    assert problem.between(torch.tensor(0.5).double(), m) > b


@pytest.mark.parametrize("degree", DEGREES)
def test_the_loss_on_the_line_in_closed_form(degree):
    problem = HomogeneousRegression.random(degree=degree)
    for m in (0.1, 1.0, 7.0):
        found = barrier(problem.minimum, problem.moved(m), problem)
        assert_close(found.losses, problem.between(found.t, m), rtol=1e-9, atol=1e-11)


def test_the_line_of_the_published_proof_is_no_curve_of_minima():
    """It joins the two by a straight line and calls its points minima: that is the line with the barrier."""
    problem = HomogeneousRegression.random()
    a, b = unbounded_barrier(problem, 1.0)
    assert problem(Line(a, b)(0.5)) > 1.0


@pytest.mark.parametrize("height", [1.0, 1e4])
def test_proposition_3_3_4_no_permutation_helps(height):
    problem = HomogeneousRegression.random(hidden=4)
    a, b = unbounded_barrier_permuted(problem, height)
    assert problem(b) < 1e-18 * problem.target.square().sum()
    losses = []
    for p in itertools.permutations(range(4)):  # one after another
        order = list(p)
        permuted = {"first": b["first"][order], "second": b["second"][:, order]}
        assert problem(permuted) < 1e-15
        losses.append(problem(Line(a, permuted)(0.5)))
    assert min(losses) > height
    m = float((b["first"] / a["first"]).mean())
    assert_close(permuted_losses(problem, m), torch.stack(losses), rtol=1e-8, atol=1e-8)


def test_a_permutation_into_the_null_space_is_refused():
    """Activations (1, 2) and W_2 = (2, -4): the target is -6, and the swapped activations give 0."""
    first = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    second = torch.tensor([[2.0, -4.0]], dtype=torch.float64)
    problem = HomogeneousRegression(first, second, torch.ones(1, 1, dtype=torch.float64))
    assert problem.target.item() == -6.0
    with pytest.raises(ValueError, match="no permutation may send the activations into the null space"):
        unbounded_barrier_permuted(problem, 1.0)


@pytest.mark.parametrize("distance", [0.5, 3.0, 100.0])
@pytest.mark.parametrize("n", [1, 3])
def test_proposition_3_3_5_the_middle_is_far_from_all_factorizations(n, distance):
    matrix = draw(n, n)
    one, two = distant_factors(matrix, distance)
    for w in (one, two):
        assert_close(w[0] @ w[1], matrix, rtol=1e-9, atol=1e-9)
    middle = [(a + b) / 2 for a, b in zip(one, two, strict=True)]
    # The nearest factorization, by descent over g from many starts: never below the certified bound.
    u, v = middle
    best = float("inf")
    for seed in range(6):
        g = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        start = torch.eye(n).double() * 10.0 ** (seed - 3) + 0.1 * g
        g = start.clone().requires_grad_()
        step = torch.optim.LBFGS([g], max_iter=200, line_search_fn="strong_wolfe")

        def squared(g=g):
            base = one
            return (base[0] @ torch.linalg.inv(g) - u).square().sum() + (g @ base[1] - v).square().sum()

        def closure(squared=squared, step=step):
            step.zero_grad()
            value = squared()
            value.backward()
            return value

        step.step(closure)
        best = min(best, float(squared().detach()) ** 0.5)
    assert best > distance


def test_the_distance_bound_against_the_hyperbola():
    """n = 1, A = 1: the distance of (s, s) from x y = 1 is sqrt 2 (s - 1) up to s = 2, sqrt(s^2 - 2) beyond."""
    one = torch.ones(1, 1, dtype=torch.float64)
    for s in (1.0, 1.5, 2.0, 5.0, 50.0):
        exact = sqrt(2) * (s - 1) if s <= 2 else sqrt(s * s - 2)
        x = torch.logspace(-4, 4, 400001, dtype=torch.float64)
        assert float(((x - s) ** 2 + (1 / x - s) ** 2).min().sqrt()) == pytest.approx(
            exact, rel=1e-4, abs=1e-5
        )
        assert 0.5 * exact - 1e-9 <= distance_bound(one, one, s) <= exact + 1e-9


@pytest.mark.parametrize("degree", DEGREES)
def test_proposition_3_3_6_bounded_weights_have_a_bounded_barrier(degree):
    problem = HomogeneousRegression.random(degree=degree)
    limit = 5 * max(float(problem.first.norm()), float(problem.second.norm()))
    bound = bounded_barrier(problem, limit)
    ends = [limit / float(problem.first.norm()), (float(problem.second.norm()) / limit) ** (1 / degree)]
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    worst = max(
        float(problem.between(t, m).max()) for m in [*ends, *torch.linspace(ends[1], ends[0], 50).tolist()]
    )
    assert 0 < worst <= bound
    # The negative control: beyond the limit the loss grows past it.
    assert problem.between(t, 1e3 * ends[0]).max() > bound


def test_all_permutations():
    for n in (1, 3, 4):
        assert list(map(tuple, permutations(n).tolist())) == list(itertools.permutations(range(n)))


def test_clear_sentences():
    with pytest.raises(ValueError, match="degree must be positive; got 0"):
        HomogeneousRegression.random(degree=0)
    with pytest.raises(ValueError, match="shapes must be"):
        HomogeneousRegression(draw(2, 3), draw(2, 3), draw(3, 1))
    with pytest.raises(ValueError, match="the target Y must not be zero"):
        HomogeneousRegression(draw(2, 3), 0 * draw(1, 2), draw(3, 1))
    problem = HomogeneousRegression.random()
    with pytest.raises(
        ValueError, match="unbounded_barrier: the bound must be a number that is not negative"
    ):
        unbounded_barrier(problem, -1.0)
    with pytest.raises(ValueError, match="m must be positive; got 0"):
        problem.moved(0)
    with pytest.raises(ValueError, match="there must be at most 8 hidden units; got 9"):
        unbounded_barrier_permuted(HomogeneousRegression.random(hidden=9), 1.0)
    with pytest.raises(ValueError, match="the matrix must be invertible"):
        distant_factors(torch.zeros(2, 2).double(), 1.0)
    with pytest.raises(ValueError, match="the matrix must be square"):
        distant_factors(draw(2, 3), 1.0)
    with pytest.raises(ValueError, match="distance must not be negative"):
        distant_factors(draw(2, 2), -1.0)
