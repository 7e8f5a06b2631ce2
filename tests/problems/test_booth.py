"""The Booth function and its family."""

import pytest
import torch
from torch.func import grad, hessian, vmap
from torch.testing import assert_close

from isoloss.problems import Booth, GeneralizedBooth


def test_exact_values():
    assert Booth()(torch.tensor([1.0, 3.0])) == 0
    assert Booth()(torch.tensor([5.0, -5.0])) == 144
    assert Booth()(torch.tensor([0.0, 0.0])) == 74


def test_the_curvatures_are_two_and_eighteen():
    """The docstring's eigenvalues 1 and 9, of the quadratic form; the Hessian has twice that."""
    values = torch.linalg.eigvalsh(hessian(Booth())(torch.randn(2, dtype=torch.float64)))
    assert_close(values, torch.tensor([2.0, 18.0], dtype=torch.float64))


def test_it_is_the_member_of_the_family_that_the_paper_names():
    member = GeneralizedBooth(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([-7.0, -5.0]))
    w = torch.randint(-9, 9, (20, 2)).double()
    assert_close(member(w), Booth()(w), rtol=0, atol=0)


def test_a_family_built_inside_vmap_is_the_batch_of_its_members():
    family = GeneralizedBooth.sample((6,))
    w = torch.randn(6, 2, dtype=torch.float64)
    g = family.group.sample((6,), dtype=torch.float64)
    value = vmap(lambda a, b, w: GeneralizedBooth(a, b)(w))(family.matrix, family.shift, w)
    assert_close(value, family(w))
    moved = vmap(lambda a, b, g, w: GeneralizedBooth(a, b).act(g, w))(family.matrix, family.shift, g, w)
    assert_close(moved, family.act(g, w))
    slope = vmap(grad(lambda w, a, b: GeneralizedBooth(a, b)(w)))(w, family.matrix, family.shift)
    residual = family.residual(w).unsqueeze(-1)
    assert_close(slope, 2 * (family.matrix.mT @ residual).squeeze(-1))


def test_a_seed_gives_a_family():
    families = [GeneralizedBooth.sample((3,), generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert (families[0].matrix == families[1].matrix).all() and (
        families[0].matrix != families[2].matrix
    ).any()


def test_a_singular_matrix_is_refused():
    with pytest.raises(ValueError, match="matrix must be invertible; got a smallest singular value of 0"):
        GeneralizedBooth(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"matrix must be square; got \(2, 3\)"):
        GeneralizedBooth(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"shift must have 2 entries; got \(3,\)"):
        GeneralizedBooth(torch.eye(2), torch.ones(3))
