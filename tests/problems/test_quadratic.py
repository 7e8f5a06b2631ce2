"""Quadratic forms with the conjugated orthogonal group."""

import pytest
import torch
from torch.func import vmap
from torch.testing import assert_close

from isoloss.problems import QuadraticForm


def test_it_moves_as_equation_4_33_says():
    form = QuadraticForm.sample(4, condition=30.0)
    values, vectors = torch.linalg.eigh(form.matrix)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.mT
    g, w = form.group.sample(dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    assert_close(form(w), w @ form.matrix @ w)
    assert_close(form.act(g, w), torch.linalg.inv(root) @ g @ root @ w)


def test_reflections_act_too():
    form = QuadraticForm.sample(3)
    w = torch.randn(3, dtype=torch.float64)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert_close(form(form.act(mirror, w)), form(w))


def test_only_the_symmetric_part_counts():
    a = torch.tensor([[2.0, 3.0], [-1.0, 4.0]], dtype=torch.float64)
    w = torch.randn(5, 2, dtype=torch.float64)
    assert_close(QuadraticForm(a)(w), torch.einsum("bi,ij,bj->b", w, a, w))


def test_the_spectrum_of_a_sample_is_the_one_asked_for():
    values = QuadraticForm.sample(5, (3,), condition=100.0).spectrum[0]
    assert values.shape == (3, 5)
    assert_close(values[:, -1] / values[:, 0], torch.full((3,), 100.0, dtype=torch.float64))


def test_a_batch_of_forms_and_forms_built_inside_vmap():
    forms = QuadraticForm.sample(3, (4,))
    w, g = torch.randn(4, 3, dtype=torch.float64), forms.group.sample((4,), dtype=torch.float64)
    assert_close(vmap(lambda a, g, w: QuadraticForm(a).act(g, w))(forms.matrix, g, w), forms.act(g, w))
    assert_close(forms.act(g, w)[2], QuadraticForm(forms.matrix[2]).act(g[2], w[2]))


def test_an_indefinite_matrix_is_refused():
    with pytest.raises(ValueError, match="must be positive definite; got an eigenvalue of -1"):
        QuadraticForm(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(ValueError, match="must be square"):
        QuadraticForm(torch.ones(2, 3))


def test_without_definiteness_the_level_sets_are_no_single_orbit():
    """Why: on a hyperbola the compact group cannot lead to infinity, nor from branch to branch continuously."""
    a = torch.tensor([1.0, -1.0])
    near, far = torch.tensor([1.0, 0.0]), torch.tensor([10.0, 99.0**0.5])
    assert_close((a * near**2).sum(), (a * far**2).sum(), rtol=0, atol=1e-5)
    assert not (a.sqrt() * near).isfinite().all()
