"""Brackets: those of matrices, of affine maps, and of fields that do not close."""

import pytest
import torch
from torch.testing import assert_close

from discovery.null_spaces.cases import CASES
from isoloss.discovery import linear_generators
from isoloss.discovery.null_spaces._algebra import algebra_of


def generators(name: str, features="linear"):
    case = CASES[name]
    return linear_generators(case.loss, case.params, case.data, features)


def points(p: int, n: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, p, dtype=torch.float64), torch.zeros(n, 1, dtype=torch.float64)


@pytest.mark.parametrize("name", ["linear 2-2-2", "scores 3", "relu 2-3-2"])
def test_brackets_are_commutators(name):
    """The literal twin: [h_i theta, h_j theta] = (h_j h_i - h_i h_j) theta, expanded in the orthonormal basis."""
    found = generators(name)
    h, algebra = found.generators, found.algebra()
    products = torch.einsum("jab,ibc->ijac", h, h)
    commutators = products - products.transpose(0, 1)
    expected = torch.einsum("ijac,kac->ijk", commutators, h)
    assert_close(algebra.structure, expected, rtol=0, atol=1e-11)
    # Nothing of them is outside of the span.
    assert_close(torch.einsum("ijk,kac->ijac", expected, h), commutators, rtol=0, atol=1e-11)
    assert algebra.closed and algebra.residual < 1e-12


# dimension, derived, center: gl(h) has sl(h) as derived algebra and the multiples of 1 as center; scalings commute;
# the affine algebra of the plane has sl(2) and the translations as derived algebra, and no center.
KNOWN = {
    ("linear 2-2-2", "linear"): (4, 3, 1),
    ("linear 2-3-2", "linear"): (9, 8, 1),
    ("relu 2-3-2", "linear"): (3, 0, 3),
    ("linear with biases", "affine"): (6, 5, 0),
    ("scores 3", "linear"): (9, 8, 1),
    ("tanh 2-3-2", "linear"): (0, 0, 0),
}


@pytest.mark.parametrize("name, features", KNOWN)
def test_known_algebras(name, features):
    algebra = generators(name, features).algebra()
    assert (algebra.dimension, algebra.derived, algebra.center) == KNOWN[name, features]
    assert algebra.closed


def test_structure_constants_obey_jacobi():
    c = generators("linear with biases", "affine").algebra().structure
    assert_close(c, -c.transpose(0, 1))
    cycle = torch.einsum("ijl,lkm->ijkm", c, c)
    total = cycle + cycle.permute(1, 2, 0, 3) + cycle.permute(2, 0, 1, 3)
    assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-10)


def test_a_part_of_an_algebra_does_not_close():
    """The negative control: E12 and E21 without their bracket."""
    h = torch.zeros(2, 2, 2, dtype=torch.float64)
    h[0, 0, 1] = h[1, 1, 0] = 1.0
    algebra = algebra_of(h, lambda w, x: w, *points(2))
    assert not algebra.closed and algebra.residual > 0.1
    assert str(algebra).startswith("2 generators that do not close under the bracket (off by ")
    whole = torch.cat([h, torch.diag(torch.tensor([1.0, -1.0]).double())[None]])
    assert algebra_of(whole, lambda w, x: w, *points(2)).derived == 3


def test_skew_fields_of_the_gradient_do_not_close():
    """They are no finite-dimensional algebra: their brackets contain the Hessian."""
    algebra = generators("sigmoid 1-3-3", "gradient").algebra()
    assert algebra.dimension >= 66 and not algebra.closed


def test_it_prints_as_a_sentence():
    assert str(generators("linear 2-2-2").algebra()).startswith(
        "a Lie algebra of dimension 4, its derived algebra of dimension 3, its center of dimension 1 (brackets closed"
    )
