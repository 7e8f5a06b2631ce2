"""Eigenvalues: all, the largest, and their density."""

import math
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from isoloss.landscape import Hessian, density, spectrum
from landscape.minima import anywhere, linear_minimum
from networks import mlp


@pytest.fixture
def quadratic():
    """Eigenvalues -2, 0 (twenty times), 1, 10."""
    values = torch.tensor([-2.0, *[0.0] * 20, 1.0, 10.0]).double()
    q = torch.linalg.qr(torch.randn(23, 23).double()).Q
    a = q @ torch.diag(values) @ q.T
    model = nn.ParameterDict({"w": nn.Parameter(torch.randn(23).double())})
    return model, lambda: model["w"] @ a @ model["w"] / 2, values


def test_all_of_them(quadratic):
    model, loss, values = quadratic
    found = spectrum(model, loss)
    # A symmetric solver errs by some eps of the largest.
    assert_close(found.eigenvalues, values, rtol=0, atol=23 * 10 * torch.finfo(torch.float64).eps)
    assert found.complete and found.size == 23 and found.zeros() == 20
    assert_close(found.nonzero(), torch.tensor([-2.0, 1.0, 10.0]).double())
    assert found.loss == loss().item()
    assert found.zeros(tolerance=3.0) == 22


def test_in_one_dimension_they_grow_with_the_conserved_quantity():
    """Section 2.8.1: L = (1 - u v)^2 / 2 at u v = 1 has eigenvalues 0 and u^2 + v^2 = sqrt(Q^2 + 4).

    Eq. (2.53) prints 2 sqrt(Q^2 + 4); the trace of the matrix of Eq. (2.52) is half of that.
    """
    for q in (-3.0, 0.0, 1.0, 7.0):
        u = math.sqrt((q + math.sqrt(q * q + 4)) / 2)
        values = {"u": torch.tensor(u, dtype=torch.float64), "v": torch.tensor(1 / u, dtype=torch.float64)}
        model = nn.ParameterDict({k: nn.Parameter(x) for k, x in values.items()})
        found = spectrum(model, lambda model=model: (1 - model["u"] * model["v"]).square() / 2)
        expected = torch.tensor([0.0, math.sqrt(q * q + 4)], dtype=torch.float64)
        assert_close(found.eigenvalues, expected, rtol=1e-14, atol=1e-13)


def test_the_largest_by_lanczos(quadratic):
    pytest.importorskip("curvlinops")
    model, loss, values = quadratic
    found = spectrum(model, loss, count=2)
    assert not found.complete
    assert_close(found.eigenvalues, torch.tensor([-2.0, 10.0]).double(), rtol=1e-10, atol=0)
    assert_close(spectrum(model, loss, count=2).eigenvalues, found.eigenvalues, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"zeros are counted among all eigenvalues; got 2 of 23"):
        found.zeros()


def test_the_density_has_the_mass_and_the_mean_of_the_spectrum(quadratic):
    """Twenty of 23 eigenvalues lie at zero; Lanczos from random vectors knows that to one over the root of 20 draws."""
    pytest.importorskip("curvlinops")
    model, loss, values = quadratic
    found = density(model, loss, vectors=23, repeats=20, points=4096)
    assert torch.trapezoid(found.values, found.grid) == pytest.approx(1.0, abs=0.01)
    near = (found.grid.abs() < 0.5).double()
    assert torch.trapezoid(found.values * near, found.grid) == pytest.approx(20 / 23, abs=0.05)
    again = density(model, loss, vectors=23, repeats=20, points=4096)
    assert torch.equal(again.values, found.values)


def test_the_density_leaves_the_random_numbers_alone(quadratic):
    pytest.importorskip("curvlinops")
    model, loss, _ = quadratic
    state = torch.get_rng_state()
    density(model, loss, vectors=4, repeats=1)
    assert torch.equal(state, torch.get_rng_state())


def test_mean_squared_error_has_a_spectrum():
    """The library's own Hessian differentiates forward over reverse, for which torch lacks a rule here."""
    pytest.importorskip("curvlinops")
    model, _, loss = anywhere(mlp(3, 4, 2, activation=nn.Tanh))
    whole = spectrum(model, loss).eigenvalues
    largest = whole[whole.abs().argsort()[-3:]].sort().values
    assert_close(spectrum(model, loss, count=3).eigenvalues, largest, rtol=1e-10, atol=0)


def test_a_hessian_of_zeros_has_no_lanczos_iterations():
    pytest.importorskip("curvlinops")
    model = nn.Linear(3, 1).double()

    def loss():
        return model(torch.ones(2, 3).double()).sum()

    assert spectrum(model, loss).zeros() == 4
    for ask in (lambda: spectrum(model, loss, count=2), lambda: density(model, loss)):
        with pytest.raises(ValueError, match="need a Hessian that is not zero"):
            ask()


def test_at_another_point():
    model, _, loss = linear_minimum(3, 4, 2)
    moved = {n: 2 * p.detach() for n, p in model.named_parameters()}
    expected = torch.linalg.eigvalsh(Hessian(model, loss, at=moved).dense())
    assert_close(spectrum(model, loss, at=moved).eigenvalues, expected, rtol=0, atol=0)


def test_messages(quadratic, monkeypatch):
    model, loss, _ = quadratic
    with pytest.raises(ValueError, match=r"count must be below the number of parameters; got 23 of 23"):
        spectrum(model, loss, count=23)
    with pytest.raises(ValueError, match=r"count must be a whole number of at least 1; got 0"):
        spectrum(model, loss, count=0)
    with pytest.raises(
        ValueError, match=r"landscape.density: vectors must be a whole number of at least 1; got 0"
    ):
        density(model, loss, vectors=0)
    with pytest.raises(ValueError, match=r"up to 5 parameters; got 23"):
        spectrum(model, loss, limit=5)
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(ImportError, match=r"need curvlinops; .* pip install 'isoloss\[landscape\]'"):
        spectrum(model, loss, count=2)
