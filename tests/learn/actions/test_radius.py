"""Elements within a radius: smooth, and near the identity as they were."""

import pytest
import torch
from torch.func import grad, hessian, jacrev, vmap
from torch.testing import assert_close

from isoloss.groups import Affine, ComplexScaling, GeneralLinear, Orthogonal, PositiveScaling, Translation
from isoloss.learn.actions import Exact, bounded, element
from isoloss.symmetry import Block, Slot, Symmetry

GROUPS = [GeneralLinear(4), Orthogonal(4), Affine(3), PositiveScaling(5), Translation(5), ComplexScaling(3)]
EPS = torch.finfo(torch.float64).eps
each = pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e15])
def test_stays_in_the_ball_and_in_the_algebra(group, dtype, scale):
    a = group.project(scale * torch.randn(6, *group.algebra_shape, dtype=torch.float64).to(dtype))
    b = bounded(group, a, 2.0)
    # The bound is approached from below; what exceeds it is rounding of a dozen operations.
    assert bool((group.norm(b) <= 2.0 * (1 + 12 * torch.finfo(dtype).eps)).all())
    assert_close(group.project(b), b, rtol=0, atol=4 * torch.finfo(dtype).eps)
    assert_close(vmap(lambda a: bounded(group, a, 2.0))(a), b)


@each
def test_small_elements_stay_as_they_are(group):
    a = group.project(torch.randn(group.algebra_shape, dtype=torch.float64))
    a = a / group.norm(a)
    # n (1/2)^16 / 16 of it, n = 5 at most.
    assert_close(bounded(group, a, 2.0), a, rtol=5e-6, atol=0)
    assert not torch.allclose(bounded(group, a, 1.0), a, rtol=1e-3)
    assert bounded(group, a, float("inf")) is a


@each
def test_smooth_at_zero(group):
    zero = torch.zeros(group.algebra_shape, dtype=torch.float64)
    flat = zero.numel()
    jacobian = jacrev(lambda a: bounded(group, a, 2.0))(zero)
    assert_close(jacobian.reshape(flat, flat), torch.eye(flat, dtype=torch.float64), rtol=0, atol=0)
    second = hessian(lambda a: bounded(group, a, 2.0).sum())(zero)
    assert_close(second, torch.zeros_like(second), rtol=0, atol=0)


@each
def test_derivatives_away_from_zero(group):
    a = torch.randn(group.algebra_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: bounded(group, a, 1.0), a)
    assert torch.autograd.gradgradcheck(lambda a: bounded(group, a, 1.0), a)


def action(group):
    return Exact(Symmetry(group, (Slot("w", Block.whole((group.n, 2)), (0,)),)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0, 10.0])
def test_exponential_is_that_of_torch(dtype, radius):
    act = action(GeneralLinear(6))
    a = 0.7 * torch.randn(8, 6, 6, dtype=torch.float64)
    want = torch.linalg.matrix_exp(bounded(act.group, a, radius))
    got = element(act, a.to(dtype), radius)
    # Squaring s times multiplies the rounding of a product, n^1.5 eps / 2, by 2^s at most, that is by 4 radius; and so
    # does the polynomial's own rounding; the norms of what is squared are at most exp(|a|).
    norm = act.group.norm(bounded(act.group, a, radius)).exp()
    error = torch.linalg.matrix_norm(got.double() - want)
    assert bool((error <= 8 * max(1.0, 4 * radius) * 6**1.5 * torch.finfo(dtype).eps * norm).all())


def test_exponential_of_zero_is_the_identity_and_its_slope_is_one():
    act = action(GeneralLinear(3))
    zero = torch.zeros(3, 3, dtype=torch.float64)
    assert_close(element(act, zero, 3.0), torch.eye(3, dtype=torch.float64), rtol=0, atol=0)
    jacobian = jacrev(lambda a: element(act, a, 3.0))(zero).reshape(9, 9)
    assert_close(jacobian, torch.eye(9, dtype=torch.float64), rtol=0, atol=9 * EPS)


def test_derivative_of_the_exponential():
    act = action(GeneralLinear(4))
    a, c = torch.randn(2, 4, 4, dtype=torch.float64)

    def height(exp):
        return grad(lambda a: (c * exp(a)).sum())(a)

    got = height(lambda a: element(act, a, 5.0))
    want = height(lambda a: torch.linalg.matrix_exp(bounded(act.group, a, 5.0)))
    assert_close(got, want, rtol=0, atol=8 * 20 * 4**1.5 * EPS * want.norm().item() * 10)


@pytest.mark.parametrize("group", GROUPS[1:2] + GROUPS[3:4], ids=lambda g: g.name)
def test_other_groups_use_their_own(group):
    act = action(group)
    a = group.project(torch.randn(group.algebra_shape, dtype=torch.float64))
    assert_close(element(act, a, 1.0), group.exp(bounded(group, a, 1.0)), rtol=0, atol=0)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_refuses_a_radius_that_is_none(radius):
    with pytest.raises(ValueError, match="the radius must be positive"):
        bounded(PositiveScaling(2), torch.zeros(2), radius)
