"""Vector fields and their brackets."""

import torch
from torch.func import grad
from torch.testing import assert_close

from isoloss.problems import Rosenbrock
from isoloss.teleport.theory import bracket, derivation, reverse_gradient, turned_gradient

LOSS = Rosenbrock(2)


def linear(m):
    return lambda w: m @ w


def test_the_bracket_of_linear_fields_is_minus_that_of_their_matrices():
    """[A w, B w] = (B A - A B) w"""
    a, b = torch.randint(-4, 5, (2, 4, 4)).double()
    w = torch.randint(-4, 5, (4,)).double()
    assert_close(bracket(linear(a), linear(b))(w), (b @ a - a @ b) @ w, rtol=0, atol=0)


def test_a_bracket_is_the_commutator_of_derivations():
    """[A, B] f = A (B f) - B (A f), through three nested derivatives."""
    w = torch.randn(4, dtype=torch.float64)
    m = torch.randn(4, 4, dtype=torch.float64)
    a, b = turned_gradient(LOSS, m - m.T), linear(m)

    def f(w):
        return w.sin().sum() * w.prod()

    left = derivation(bracket(a, b), f)(w)
    right = derivation(a, derivation(b, f))(w) - derivation(b, derivation(a, f))(w)
    size = a(w).norm() * b(w).norm() * (1 + w.norm()) ** 2
    assert_close(left, right, rtol=0, atol=1e4 * torch.finfo(w.dtype).eps * float(size))


def test_the_bracket_of_the_flows_measures_their_failure_to_commute():
    """Flow along A for s, R for s, back along A, back along R: s^2 [A, R], up to s^3 (Euler steps cancel in order)."""
    m = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    n = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    w, s = torch.tensor([1.0, 2.0], dtype=torch.float64), 1e-4
    turn, stretch = torch.linalg.matrix_exp(s * m), torch.linalg.matrix_exp(s * n)
    loop = torch.linalg.inv(stretch) @ torch.linalg.inv(turn) @ stretch @ turn @ w
    assert_close((loop - w) / s**2, bracket(linear(m), linear(n))(w), rtol=0, atol=100 * s)


def test_turned_gradients_are_tangent_and_reach_every_tangent_vector():
    """Lemma C.4.2."""
    w = torch.randn(4, dtype=torch.float64)
    p = grad(LOSS)(w)
    bases = [torch.zeros(4, 4, dtype=torch.float64) for _ in range(6)]
    for m, (i, j) in zip(bases, torch.combinations(torch.arange(4)), strict=True):
        m[i, j], m[j, i] = 1, -1
    vectors = torch.stack([turned_gradient(LOSS, m)(w) for m in bases])
    assert (vectors @ p).abs().max() <= 16 * torch.finfo(w.dtype).eps * float(p.norm() ** 2)
    assert torch.linalg.matrix_rank(vectors) == 3
    assert_close(reverse_gradient(LOSS)(w), -p)
