"""The principal logarithm: against scipy's Schur method, on defective matrices, and where there is none."""

from math import log

import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from isoloss.groups import GeneralLinear
from laws import assert_equal

eps = torch.finfo(torch.float64).eps


def rounding(a: torch.Tensor) -> float:
    """Error of the logarithm a of g: 64 backward stable operations, times the condition number of log at g.

    The derivative of log at g is the inverse of that of exp at a, here as a matrix (Higham 2008, Section 3.1).
    """
    n = len(a)
    derivative = torch.func.jacrev(torch.linalg.matrix_exp)(a).reshape(n * n, n * n)
    g = torch.linalg.matrix_exp(a)
    return float(64 * n**1.5 * eps * (1 + torch.linalg.norm(torch.linalg.inv(derivative), 2) * g.norm()))


@pytest.mark.parametrize("n", [1, 2, 5, 7, 12])
@pytest.mark.parametrize("scale", [0.01, 0.5, 1.0])
def test_agrees_with_the_schur_method(n, scale):
    group = GeneralLinear(n)
    for g in group.sample((4,), scale=scale, dtype=torch.float64):
        expected = torch.as_tensor(scipy.linalg.logm(g.numpy()).real)
        assert_close(group.log(g), expected, rtol=0, atol=rounding(expected))


def test_jordan_blocks():
    """log(lambda + N) = log lambda + m - m^2 / 2 + m^3 / 3 with m = N / lambda; the eigenvectors do not span."""
    identity = torch.eye(4, dtype=torch.float64)
    nilpotent = torch.diag(torch.ones(3, dtype=torch.float64), 1)
    for value in (0.1, 1.0, 7.0):
        m = nilpotent / value
        expected = log(value) * identity + m - m @ m / 2 + m @ m @ m / 3
        actual = GeneralLinear(4).log(value * identity + nilpotent)
        assert_close(actual, expected, rtol=0, atol=rounding(expected))


def test_the_identity_has_logarithm_zero_exactly():
    assert_equal(GeneralLinear(3).log(torch.eye(3)), torch.zeros(3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_narrow_dtypes_are_computed_in_float64(dtype):
    group = GeneralLinear(4)
    g = group.sample((2,), dtype=dtype)
    assert_equal(group.log(g), group.log(g.double()).to(dtype))


def test_a_quarter_turn_has_half_pi():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    # 64 operations on an axis of two, see laws.assert_log_inverts_exp
    assert_close(GeneralLinear(2).log(turn), torch.pi / 2 * turn, rtol=0, atol=64 * 2**1.5 * eps)


@pytest.mark.parametrize(
    ("g", "values"),
    [
        (torch.diag(torch.tensor([-1.0, 1.0, 2.0])), "-1"),
        (-torch.eye(3), "-1, -1, -1"),
        (torch.diag(torch.tensor([-0.25, -3.0, 1.0])), "-0.25, -3"),
    ],
    ids=["reflection", "point reflection", "two"],
)
def test_negative_eigenvalues_have_no_principal_logarithm(g, values):
    match = rf"GL\(3\).log: g must have no negative real eigenvalue .* got {values}. Take the log of compose\(g, g\)"
    with pytest.raises(ValueError, match=match):
        GeneralLinear(3).log(g)
    with pytest.raises(ValueError, match=match):
        GeneralLinear(3).log(torch.stack([torch.eye(3), g]))


def test_near_the_negative_axis_the_result_is_right_or_refused():
    """At an angle d from half a turn the error is eps / d^2: above 1e-3 far less than the half precision promised."""
    group = GeneralLinear(4)
    for exponent in range(1, 17):
        angle = torch.tensor(torch.pi - 10.0**-exponent, dtype=torch.float64)
        turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        change = torch.eye(4, dtype=torch.float64) + torch.randn(4, 4, dtype=torch.float64) / 8
        g = change @ torch.block_diag(turn, turn) @ torch.linalg.inv(change)
        try:
            back = group.exp(group.log(g))
        except ValueError as error:
            assert "GL(4).log: " in str(error)
            assert exponent > 3
        else:
            assert (back - g).norm() <= eps**0.5 * g.norm()
            assert exponent < 16


def test_loss_of_accuracy_is_reported(monkeypatch):
    """The check compares exp(log g) with g, whatever went wrong between."""
    monkeypatch.setattr("isoloss.groups._principal_log._pade_log", lambda y: 2 * y)
    match = r"GL\(3\).log: exp\(log\(g\)\) must return g; got a relative error of .*, condition number .* Move g's"
    with pytest.raises(ValueError, match=match):
        GeneralLinear(3).log(GeneralLinear(3).sample())
