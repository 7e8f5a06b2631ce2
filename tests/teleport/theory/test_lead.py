"""Proposition 4.5.4."""

from math import inf

import pytest
import torch
from torch.testing import assert_close

from isoloss.problems import QuadraticForm
from isoloss.teleport.theory import gradient_norms, kept_steps, required_lead, steepest

FORM = QuadraticForm(torch.diag(torch.tensor([1.0, 5.0, 100.0], dtype=torch.float64)))
LIPSCHITZ = 200.0


@pytest.mark.parametrize("steps", [1, 3, 10, 30])
def test_a_sufficient_lead_is_kept(steps):
    """At the largest rate for which the condition holds, over random starts and their steepest points."""
    for w in torch.randn(20, 3, dtype=torch.float64) * torch.tensor([10.0, 1.0, 0.1]):
        to = steepest(FORM.matrix, w)
        here, there = (gradient_norms(FORM, v, 0.0, 0)[0] for v in (w, to))
        root = float(there / here) ** (1 / steps)
        lr = (root - 1) / (root + 1) / LIPSCHITZ * (1 - 1e-9)
        assert there / here >= required_lead(lr, LIPSCHITZ, steps)
        assert gradient_norms(FORM, to, lr, steps)[-1] >= gradient_norms(FORM, w, lr, steps)[-1]


def test_one_step_changes_the_norm_by_a_factor_within_the_bounds():
    """Eq. (4.28), on which it rests; both bounds are nearly attained."""
    lr = 0.3 / LIPSCHITZ
    w = torch.randn(500, 3, dtype=torch.float64)
    ratios = torch.stack([gradient_norms(FORM, v, lr, 1) for v in w])
    ratios = ratios[:, 1] / ratios[:, 0]
    assert (ratios >= 1 - 0.3 - 1e-12).all() and (ratios <= 1 + 0.3).all()
    assert ratios.min() < 0.71


def test_a_smaller_lead_may_be_lost():
    """Negative control: twice the gradient, but on the steep axis, where it is gone after a few steps."""
    gentle, steep = torch.tensor([1.0, 0, 0]).double(), torch.tensor([0, 0, 0.02]).double()
    lr, steps = 0.1 / LIPSCHITZ, 10
    here, there = gradient_norms(FORM, gentle, lr, steps), gradient_norms(FORM, steep, lr, steps)
    assert_close(there[0], 2 * here[0])
    assert there[0] / here[0] < required_lead(lr, LIPSCHITZ, steps)
    assert there[-1] < here[-1]


def test_with_too_small_a_constant_the_statement_fails():
    """Negative control: the same case passes the condition if the constant is understated by ten."""
    assert required_lead(0.1 / LIPSCHITZ, LIPSCHITZ / 10, 10) < 2


def test_the_numbers():
    assert required_lead(0.1, 1.0, 0) == 1
    assert_close(required_lead(0.1, 2.0, 3), (1.2 / 0.8) ** 3)
    assert required_lead(0.5, 2.0, 1) == required_lead(1.0, 2.0, 1) == inf
    assert kept_steps((1.2 / 0.8) ** 3, 0.1, 2.0) == 3
    assert kept_steps((1.2 / 0.8) ** 3 - 0.01, 0.1, 2.0) == 2
    assert kept_steps(1.0, 0.1, 2.0) == 0 == kept_steps(5.0, 1.0, 2.0)
    with pytest.raises(ValueError, match="lead must be at least 1"):
        kept_steps(0.5, 0.1, 1.0)
    with pytest.raises(
        ValueError, match="required_lead: rate, constant and steps must not be negative; got -0.1"
    ):
        required_lead(-0.1, 1.0, 2)
