"""Proposition 4.1 and Lemma A.1 of the 2025 paper."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, hessian, vmap
from torch.testing import assert_close

from isoloss.problems import QuadraticForm
from isoloss.teleport.theory import newton_components, newton_direction, newton_growth, power_gap

EPS = torch.finfo(torch.float64).eps
CONDITION = 100.0

cases = settings(max_examples=60, deadline=None)
seeds, sizes = st.integers(0, 2**31 - 1), st.integers(2, 6)


def spectrum(seed, n, condition=CONDITION):
    """Eigenvalues between 1 and the condition number, eigenvectors, and a source of more."""
    g = torch.Generator().manual_seed(seed)
    vectors, _ = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))
    return condition ** torch.rand(n, generator=g, dtype=torch.float64), vectors, g


def quadratic(values, vectors):
    h = (vectors * values) @ vectors.mT
    return lambda w: w @ h @ w / 2


def printed(loss, w):
    """Eq. (16), literally."""
    p, h = grad(loss)(w), hessian(loss)(w)
    return 2 * (-p @ p + (p @ torch.linalg.inv(h) @ p) / (p @ p) * (p @ h @ p))


def along(loss, w):
    """The left side of eq. (1), by automatic differentiation."""
    return newton_components(loss, w).orthogonal @ grad(lambda w: grad(loss)(w).square().sum())(w)


def close(found, expected, p, condition=CONDITION):
    """The solve loses a factor of the condition number, and so do sums of size condition * |p|^2: C = 8 n."""
    bound = 8 * len(p) * EPS * condition**2 * float(p @ p)
    assert_close(found, expected, rtol=0, atol=bound)


@cases
@given(seeds, sizes)
def test_the_gradient_grows_along_the_orthogonal_component_of_a_convex_quadratic(seed, n):
    values, vectors, g = spectrum(seed, n)
    loss, w = quadratic(values, vectors), torch.randn(n, generator=g, dtype=torch.float64)
    p, growth = grad(loss)(w), newton_growth(loss, w)
    assert growth > 0
    close(growth, printed(loss, w), p)
    close(growth, along(loss, w), p)


@cases
@given(seeds, sizes)
def test_the_components_are_a_decomposition(seed, n):
    values, vectors, g = spectrum(seed, n)
    loss, w = quadratic(values, vectors), torch.randn(n, generator=g, dtype=torch.float64)
    p, (parallel, orthogonal) = grad(loss)(w), newton_components(loss, w)
    size = newton_direction(loss, w).norm()
    assert_close(parallel + orthogonal, -newton_direction(loss, w), rtol=0, atol=4 * EPS * float(size))
    assert orthogonal @ p / p.norm() <= 4 * n * EPS * size
    assert parallel @ p < 0, "Newton's step descends on a convex function"


@cases
@given(seeds, sizes, st.data())
def test_equality_holds_at_the_eigenvectors_and_only_there(seed, n, data):
    values, vectors, _ = spectrum(seed, n)
    k = data.draw(st.integers(0, n - 1))
    loss = quadratic(values, vectors)
    axis = vectors[:, k]
    p = grad(loss)(axis)
    # The gradient leaves the axis by n eps * condition of its length; its square enters, times the condition.
    assert 0 <= newton_growth(loss, axis) <= CONDITION * (8 * n * EPS * CONDITION) ** 2 * (p @ p)
    mixed = axis + vectors[:, k - 1]
    i, j = values[k], values[k - 1]
    expected = 2 * (i * j) * (i - j) ** 2 / (i**2 + j**2)
    close(newton_growth(loss, mixed), expected, grad(loss)(mixed))
    assert (newton_growth(loss, mixed) > 0) == (i != j)


def test_it_holds_for_convex_functions_that_are_no_quadratics():
    m = torch.randn(7, 4, dtype=torch.float64)

    def loss(w):
        return torch.logsumexp(m @ w, 0) + w.square().sum() / 50

    points = 2 * torch.randn(200, 4, dtype=torch.float64)
    growth = vmap(lambda w: newton_growth(loss, w))(points)
    assert (growth > 0).all()
    assert_close(growth, torch.stack([along(loss, w) for w in points]), rtol=1e-8, atol=1e-10)


def test_it_holds_for_concave_functions_too():
    """The factors have one sign: only their products enter."""
    for seed in range(20):
        values, vectors, g = spectrum(seed, 4)
        loss, w = quadratic(-values, vectors), torch.randn(4, generator=g, dtype=torch.float64)
        assert newton_growth(loss, w) > 0
        close(newton_growth(loss, w), along(loss, w), grad(loss)(w))


def test_equations_19_and_20_as_the_gradient_of_a_function():
    def saddle(w):
        return w[0] ** 2 / 2 - w[1] ** 2

    w = torch.tensor([1.0, -1.5], dtype=torch.float64)
    p, h = grad(saddle)(w), hessian(saddle)(w)
    assert_close(p, torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert float(p @ p) ** 2 == 100 and float(p @ torch.linalg.inv(h) @ p) == -3.5
    assert float(p @ h @ p) == -17
    expected = torch.tensor(2 * (-10 + 59.5 / 10), dtype=torch.float64)
    assert_close(newton_growth(saddle, w), expected)
    assert_close(along(saddle, w), expected)


@cases
@given(seeds)
def test_in_the_plane_an_indefinite_hessian_always_turns_the_sign(seed):
    values, vectors, g = spectrum(seed, 2)
    loss = quadratic(values * torch.tensor([1.0, -1.0]), vectors)
    w = torch.randn(2, generator=g, dtype=torch.float64)
    assert newton_growth(loss, w) < 0
    close(newton_growth(loss, w), along(loss, w), grad(loss)(w))


def test_in_more_dimensions_an_indefinite_hessian_may_do_either():
    loss = quadratic(torch.tensor([1.0, 4.0, -1.0], dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    growing = torch.tensor([1.0, 1.0, 0.01], dtype=torch.float64)
    shrinking = torch.tensor([1.0, 0.01, 1.0], dtype=torch.float64)
    assert newton_growth(loss, growing) > 0 > newton_growth(loss, shrinking)


def test_it_fails_for_a_linear_network_of_two_weights_near_its_minima():
    """L = (x y - 1)^2 / 2: the Hessian is indefinite where (1 - xy)(3xy - 1) < 0, on one side of every minimum."""

    def network(w):
        return (w[0] * w[1] - 1) ** 2 / 2

    x = 2.0
    for product in (0.1, 0.3, 0.35, 0.7, 0.99, 1.01, 1.5, 5.0):
        w = torch.tensor([x, product / x], dtype=torch.float64)
        grows = 1 / 3 < product < 1
        assert (newton_growth(network, w) > 0) == grows
        h = hessian(network)(w)
        close(newton_growth(network, w), along(network, w), grad(network)(w), float(torch.linalg.cond(h)))


def test_a_small_teleport_need_not_bring_the_gradient_nearer_to_newton():
    """The discussion of Prop. 4.1 suggests it; near the long axis the angle between the two grows with the gradient."""
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64)))
    phase = torch.tensor([0.01, 0.1, 1.5], dtype=torch.float64)
    w = form.point(torch.stack([phase.cos(), phase.sin()], -1))
    p = vmap(grad(form))(w)
    assert (p.norm(dim=-1).diff() > 0).all()
    cosine = torch.cosine_similarity(p, vmap(lambda w: newton_direction(form, w))(w))
    assert cosine[1] < cosine[0] and cosine[2] > cosine[1]


# --- Lemma A.1 ---

exponents = st.floats(-3, 3)


def sides(a, w, alpha, beta):
    """Both sides of eq. (2), literally: left, right."""
    values, vectors = torch.linalg.eigh(a)

    def form(power):
        return w @ ((vectors * values**power) @ vectors.mT) @ w

    return form(alpha) ** 2, form(alpha + beta) * form(alpha - beta)


@cases
@given(seeds, sizes, exponents, exponents)
def test_lemma_a1_holds_for_real_exponents(seed, n, alpha, beta):
    values, vectors, g = spectrum(seed, n)
    a, w = (vectors * values) @ vectors.mT, torch.randn(n, generator=g, dtype=torch.float64)
    left, right = sides(a, w, alpha, beta)
    gap = power_gap(a, w, alpha, beta)
    assert gap >= 0
    # Powers multiply the relative errors of the eigenvalues, eps * condition, by their exponents.
    bound = 16 * n * EPS * CONDITION * (1 + abs(alpha) + abs(beta)) * float(right)
    assert_close(gap, right - left, rtol=0, atol=bound)


@cases
@given(seeds, sizes, exponents)
def test_lemma_a1_is_an_equality_only_without_beta_or_at_an_eigenvector(seed, n, alpha):
    values, vectors, g = spectrum(seed, n)
    a, w = (vectors * values) @ vectors.mT, torch.randn(n, generator=g, dtype=torch.float64)
    assert power_gap(a, w, alpha, 0.0) == 0
    assert power_gap(a, w, alpha, 1.0) > 0
    axis = vectors[:, 0]
    left, _ = sides(a, axis, alpha, 1.0)
    assert (
        power_gap(a, axis, alpha, 1.0)
        <= (8 * n * EPS * CONDITION) ** 2 * CONDITION ** (2 * abs(alpha) + 2) * left
    )


def test_the_sums_of_equations_6_and_10_count_the_diagonal_twice():
    """With one variable both printed sums are twice what they shall equal; the terms cancel in the comparison."""
    d, x, alpha, beta = 3.0, 2.0, 2.0, 1.0
    a, w = torch.tensor([[d]], dtype=torch.float64), torch.tensor([x], dtype=torch.float64)
    left, right = sides(a, w, alpha, beta)
    assert_close(2 * float(left), 2 * d**alpha * d**alpha * x**4)
    assert_close(2 * float(right), 2 * d ** (alpha + beta) * d ** (alpha - beta) * x**4)


def test_an_indefinite_matrix_is_refused_and_violates_the_lemma():
    a = torch.diag(torch.tensor([1.0, -2.0], dtype=torch.float64))
    w = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert (w @ w) ** 2 > (w @ torch.linalg.inv(a) @ w) * (w @ a @ w)
    with pytest.raises(ValueError, match="must be positive definite; got an eigenvalue of -2"):
        power_gap(a, w, 0, 1)
