"""The ellipse."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.problems import Ellipse, QuadraticForm, rotation


def test_it_is_the_quadratic_form_of_its_diagonal():
    w = torch.randn(9, 2, dtype=torch.float64)
    form = QuadraticForm(torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)))
    assert_close(Ellipse(4.0)(w), form(w))


def test_it_moves_as_equation_c_2_says():
    a, angle = 5.0, torch.tensor(0.7, dtype=torch.float64)
    scale = torch.diag(torch.tensor([1.0, a**0.5], dtype=torch.float64))
    w = torch.randn(2, dtype=torch.float64)
    literal = torch.linalg.inv(scale) @ rotation(angle) @ scale @ w
    assert_close(Ellipse(a).act(rotation(angle), w), literal)


def test_a_batch_of_ellipses():
    a = torch.tensor([0.5, 2.0, 8.0])
    w = torch.randn(3, 2, dtype=torch.float64)
    assert_close(Ellipse(a)(w), torch.stack([Ellipse(float(ai))(wi) for ai, wi in zip(a, w, strict=True)]))
    assert Ellipse(a).minimizer.shape == (3, 2) and Ellipse(a).minimum.shape == (3,)
    assert Ellipse(a)(w[0]).shape == (3,)


@pytest.mark.parametrize("a", [0.0, -1.0, torch.tensor([1.0, 0.0])])
def test_a_must_be_positive_though_the_dissertation_admits_zero(a):
    with pytest.raises(ValueError, match="a must be positive; got"):
        Ellipse(a)


def test_with_a_zero_the_published_action_divides_by_zero():
    """Why: eq. (C.2) at a = 0."""
    scale, inverse = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([1.0, torch.inf]))
    assert not (inverse @ rotation(torch.tensor(0.5)) @ scale @ torch.ones(2)).isfinite().all()
