"""Derivatives of products, quotients, roots and pseudo-inverses of matrices, against nested forward differentiation."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.teleport.curves import taylor
from isoloss.teleport.curves._leibniz import product, pseudo_inverse, quotient, square_root, transposed

ZERO = torch.zeros((), dtype=torch.float64)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def series(*shape, order=3):
    return [torch.randn(shape, dtype=torch.float64) / 3**n for n in range(order + 1)]


def function(a):
    """The polynomial with these derivatives at 0."""
    return lambda t: a[0] + t * a[1] + t**2 / 2 * a[2] + t**3 / 6 * a[3]


def differentiated(f):
    return [f(ZERO), *(d["x"] for d in taylor(lambda t: {"x": f(t)}, ZERO, 3))]


def test_products_and_quotients():
    a, b = series(3, 4), series(4, 4)
    f, g = function(a), function(b)
    assert_close(product(a, b), differentiated(lambda t: f(t) @ g(t)), **CLOSE)
    assert_close(quotient(a, b), differentiated(lambda t: f(t) @ torch.linalg.inv(g(t))), **CLOSE)
    assert_close(product(quotient(a, b), b), a, **CLOSE)
    assert_close(transposed(a), [x.mT for x in a])


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)], ids=["tall", "wide", "square"])
def test_pseudo_inverses(shape):
    a = series(*shape)
    f = function(a)
    assert_close(pseudo_inverse(a), differentiated(lambda t: torch.linalg.pinv(f(t))), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spread", [1.0, 1e-4, 0.0], ids=["distinct", "close", "equal"])
def test_roots_also_where_eigenvalues_coincide(spread):
    values = 0.3 + spread * torch.arange(4, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    a = [(q * values) @ q.mT, *((x + x.mT) / 20 for x in series(4, 4)[1:])]
    root = square_root(a)
    for squared, known in zip(product(root, root), a, strict=True):
        assert_close(squared, known, rtol=0.0, atol=1e-12)
    assert_close(root[0], root[0].mT, rtol=0.0, atol=1e-14)
    assert torch.linalg.eigvalsh(root[0]).min() > 0
    leaf = a[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(square_root([leaf])[0].trace(), leaf)
    # The derivative of tr A^(1/2) is A^(-1/2) / 2.
    assert_close((slope + slope.mT) / 2, torch.linalg.inv(root[0]) / 2, rtol=1e-10, atol=1e-10)


def test_small_eigenvalues_are_reached():
    values = torch.logspace(-9, 0, 4, dtype=torch.float64)
    (root,) = square_root([torch.diag(values)])
    assert_close(root.diagonal(), values.sqrt(), rtol=1e-6, atol=0.0)
