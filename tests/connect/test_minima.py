"""Connected components of minima: Propositions 3.2.1 to 3.2.3, Lemma 3.3.1 and Proposition 3.3.2."""

import pytest
import torch
from torch.testing import assert_close

from connect.points import draw
from isoloss.connect import LinearRegression, ResidualRegression, components, level_path, project
from isoloss.connect.minima._components import classes_of

ONE = torch.ones(1, 1, dtype=torch.float64)


def regression(width, layers):
    return LinearRegression(draw(width, width), draw(width, width), layers)


@pytest.mark.parametrize(("width", "layers"), [(1, 2), (1, 4), (2, 3), (3, 3), (4, 2)])
def test_proposition_3_2_1_the_minima_are_a_group(width, layers):
    problem = regression(width, layers)
    g = draw(5, layers - 1, width, width)
    w = problem.minimum(g)
    # Two solves, of matrices whose condition numbers are some hundred.
    assert problem(w).max() < 1e-18 * problem.targets.square().sum() + 1e-16
    assert_close(problem.elements(w), g, rtol=1e-9, atol=1e-9)
    assert_close(problem.minimum(problem.elements(w)), w, rtol=1e-8, atol=1e-8)
    literal = w[0].reshape(layers, width, width)
    product = problem.inputs
    for m in literal:
        product = m @ product
    assert_close(problem(w[:1])[0] + 1, (product - problem.targets).square().sum() + 1)


@pytest.mark.parametrize(("width", "layers"), [(1, 2), (1, 3), (2, 2)])
def test_corollary_3_2_2_by_path_finding_alone(width, layers):
    """2^(l-1) components: no more by paths found numerically, no fewer by the signs of determinants."""
    problem = regression(width, layers)
    found = components(problem.residual, problem.sample(24), invariant=problem.invariant)
    assert found.count == found.separated == 2 ** (layers - 1) and found.certain


@pytest.mark.parametrize(("width", "layers"), [(1, 4), (2, 3), (3, 3), (3, 4)])
def test_corollary_3_2_2_with_the_curves_of_the_group(width, layers):
    problem = regression(width, layers)
    points = problem.sample(12 * 2 ** (layers - 1))
    found = components(problem.residual, points, invariant=problem.invariant, joined=problem.joined)
    assert found.count == found.separated == 2 ** (layers - 1)


def test_the_curves_that_join_two_minima_stay_on_the_minimum():
    problem = regression(3, 3)
    points = problem.sample(40)
    signs = problem.invariant(points)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    same = [(i, j) for i in range(10) for j in range(i) if torch.equal(signs[i], signs[j])]
    apart = [(i, j) for i in range(10) for j in range(i) if not torch.equal(signs[i], signs[j])]
    for i, j in same:
        path = problem.curve(points[i], points[j], t)
        assert_close(path[[0, -1]], points[[i, j]], rtol=1e-6, atol=1e-6)
        # Condition numbers of products of Gaussian matrices reach 1e4, on the curve 1e6 or so.
        assert problem(path).max() < 1e-12
    assert same and apart
    for i, j in apart:
        with pytest.raises(ValueError, match="LinearRegression.curve: a curve along the group stays in one"):
            problem.curve(points[i], points[j], t)


def test_lemma_3_3_1_and_its_example():
    """An odd permutation brings two points of different components into one: the matrices of Appendix B.2."""
    flip, eye = torch.diag(torch.tensor([-1.0, 1.0])).double(), torch.eye(2).double()
    problem = LinearRegression(eye, flip, 2)
    a, b = torch.stack([eye, flip]).flatten(), torch.stack([flip, eye]).flatten()
    assert problem(a) == problem(b) == 0.0
    assert not problem.joined(a[None], b[None])
    swapped = problem.permuted(a, [torch.tensor([1, 0])])
    expected = torch.stack([torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[0.0, -1], [1, 0]])]).double()
    assert_close(swapped, expected.flatten(), rtol=0, atol=0)
    assert problem.joined(swapped[None], b[None])
    path = problem.curve(swapped, b, torch.linspace(0, 1, 9, dtype=torch.float64))
    assert problem(path).max() < 1e-24


@pytest.mark.parametrize(("width", "layers"), [(2, 2), (2, 4), (3, 3)])
def test_proposition_3_3_2_all_minima_are_connected_up_to_permutations(width, layers):
    problem = regression(width, layers)
    points = problem.sample(20)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    needed = 0
    for a, b in zip(points[:10], points[10:], strict=True):
        moved = problem.permuted(a, problem.aligning(a, b))
        assert problem(moved) < 1e-16
        assert problem.joined(moved[None], b[None])
        assert problem(problem.curve(moved, b, t)).max() < 1e-12
        needed += not bool(problem.joined(a[None], b[None]))
    assert needed  # some had to be permuted


def test_proposition_3_3_2_needs_two_neurons():
    problem = regression(1, 2)
    with pytest.raises(ValueError, match="one neuron cannot be permuted"):
        problem.aligning(*problem.sample(2))


@pytest.mark.parametrize(("skip", "count"), [(0.0, 4), (1.0, 3), (-0.7, 3)])
def test_proposition_3_2_3_four_components_without_and_three_with_the_skip(skip, count):
    problem = ResidualRegression(ONE, ONE, skip)
    points = problem.sample(40)
    assert problem(points).max() < 1e-20
    found = components(problem.residual, points, invariant=problem.invariant)
    assert found.count == found.separated == count and found.certain


def test_wider_residual_networks_have_two_components():
    """Ours: W_1 passes through det 0 while det (W_2 W_1 + epsilon) stays, of either sign; docs/connect.md."""
    problem = ResidualRegression(torch.eye(2).double(), torch.eye(2).double(), 1.0)
    t = torch.linspace(1, -1, 41, dtype=torch.float64)
    first = torch.zeros(41, 2, 2, dtype=torch.float64)
    first[:, 0, 0], first[:, 1, 1] = t, 1.0
    for c, side in ((1.0, 1), (-3.0, -1)):
        second = torch.diag(torch.tensor([0.0, c])).double().expand(41, 2, 2)
        path = problem.minimum(first, second)
        assert problem(path).max() < 1e-20
        assert path.diff(dim=0).abs().max() <= t.diff().abs().max() + 1e-12  # continuous
        assert torch.linalg.det(first)[[0, -1]].sign().tolist() == [1.0, -1.0]
        assert (problem.invariant(path)[:, 0] == side).all()
    assert len(problem.invariant(problem.sample(60)).unique(dim=0)) == 2
    without = ResidualRegression(torch.eye(2).double(), torch.eye(2).double(), 0.0)
    assert len(without.invariant(without.sample(60)).unique(dim=0)) == 4


def circle(w):
    return w.square().sum(-1, keepdim=True) - 1


def test_projection_goes_to_the_set_by_the_shortest_steps():
    points = project(circle, torch.tensor([[3.0, 0.0], [0.6, 0.8], [0.1, -0.1]], dtype=torch.float64))
    expected = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.5**0.5, -(0.5**0.5)]], dtype=torch.float64)
    assert_close(points, expected, rtol=1e-9, atol=1e-9)
    # No real solution: nan, not a wrong point.
    assert project(lambda w: w.square().sum(-1, keepdim=True) + 1, torch.ones(1, 2).double()).isnan().all()
    assert project(circle, torch.zeros(0, 2).double()).shape == (0, 2)


def test_paths_are_found_on_a_circle_and_not_across_a_gap():
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([-0.6, 0.8], dtype=torch.float64)
    path = level_path(circle, a, b)
    assert path and path.step < 0.1
    assert_close(path.points[[0, -1]], torch.stack([a, b]))
    assert circle(path.points).abs().max() < 1e-9

    def hyperbola(w):
        return w[..., :1] * w[..., 1:] - 1

    one, two = torch.tensor([2.0, 0.5]).double(), torch.tensor([-2.0, -0.5]).double()
    assert not level_path(hyperbola, one, two)
    assert level_path(hyperbola, one, torch.tensor([0.25, 4.0]).double())
    # Two thin sheets that are near one another in units of the steps.
    steep = torch.tensor([1e-3, 1e3]).double()
    assert not level_path(hyperbola, steep, -steep)


def test_counting_two_circles():
    """Without an invariant the count is that of the paths; a wrong invariant is found out."""

    def two(w):
        return (
            ((w - c).square().sum(-1, keepdim=True) - 1).prod(-1, keepdim=True)
            if w.dim() > 1
            else (((w - c).square().sum() - 1) * ((w + c).square().sum() - 1)).reshape(1)
        )

    c = torch.tensor([2.0, 0.0]).double()
    angles = torch.linspace(0, 6, 10, dtype=torch.float64)
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    points = torch.cat([ring + c, ring - c])
    found = components(two, points)
    assert found.count == 2 and found.separated is None and not found.certain
    assert found.labels.tolist() == [0] * 10 + [1] * 10
    assert components(two, points, invariant=lambda p: p[:, :1].sign()).certain
    with pytest.raises(ValueError, match="an invariant must not change along a path on the set"):
        components(two, points, invariant=lambda p: p[:, 1:].sign())


def test_classes_of_a_relation():
    linked = torch.eye(6, dtype=torch.bool)
    for i, j in ((0, 3), (3, 5), (1, 2)):
        linked[i, j] = linked[j, i] = True
    assert classes_of(linked).tolist() == [0, 1, 1, 0, 2, 0]


def test_clear_sentences():
    problem = regression(2, 2)
    with pytest.raises(ValueError, match="layers must be at least 2; got 1"):
        regression(2, 1)
    with pytest.raises(ValueError, match="targets must be square and invertible"):
        LinearRegression(torch.eye(2).double(), torch.zeros(2, 2).double())
    with pytest.raises(ValueError, match="inputs must be square and invertible"):
        ResidualRegression(0 * ONE, ONE)
    with pytest.raises(ValueError, match="points must lie on the set; got a residual of"):
        components(problem.residual, draw(3, 8))
    with pytest.raises(ValueError, match="points must have shape"):
        components(problem.residual, draw(8))
    with pytest.raises(ValueError, match="both ends must lie on the set; got a residual of .* at the second"):
        level_path(circle, torch.tensor([1.0, 0.0]).double(), draw(2) + 3)
    with pytest.raises(ValueError, match="n must be a whole number of at least 3; got 2"):
        level_path(circle, torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double(), 2)
