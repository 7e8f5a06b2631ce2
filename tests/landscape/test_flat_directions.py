"""Zeros of the Hessian and the orbit: 700 of 750, what is left unexplained, and what holds off a minimum."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import isoloss
from isoloss.landscape import Hessian, flat_directions, principal_angles, spectrum, tangent_space
from isoloss.symmetry import Symmetries, named_tensors
from landscape.minima import anywhere, linear_minimum, realizable
from networks import linear_symmetries, mlp, mlp_symmetries

EPS = torch.finfo(torch.float64).eps


def leaky():
    """Both slopes matter: a small one makes eigenvalues of the size of its square."""
    return nn.LeakyReLU(0.3)


def algebra_element(symmetry, seed=0):
    generator = torch.Generator().manual_seed(seed)
    g = symmetry.sample(0.1, generator, dtype=torch.float64)
    return symmetry.group.log(g)


def test_seven_hundred_of_seven_hundred_and_fifty():
    """Section 2.8.2, U 5 x 50 and V 10 x 50: all zeros are directions of the orbit, and the orbit has no others."""
    model, x, loss = linear_minimum()
    found = flat_directions(model, loss, isoloss.find(model, x))
    assert (found.zeros, found.orbit_dimension, found.explained, found.unexplained) == (700, 700, 700, 0)
    assert len(found.eigenvalues) == 750 and found.gap > 1e6
    # An eigenvector of an eigenvalue far from all others is known to P eps over the distance, here a tenth.
    assert float(found.angles.max()) < 750 * 10 * EPS * 10
    assert str(found).startswith("700 of 750 eigenvalues are zero")


def test_fewer_samples_than_inputs_leave_zeros_unexplained():
    """Columns of V that no input reaches are free: three inputs of five are seen."""
    model, x, loss = linear_minimum(5, 4, 3, samples=3)
    found = flat_directions(model, loss, linear_symmetries(model))
    assert found.explained == found.orbit_dimension == 16
    assert found.unexplained > 0
    assert found.zeros == 4 * 8 - 3 * 3  # as many conditions as outputs of all samples


def test_a_symmetry_left_out_leaves_its_zeros_unexplained():
    model, x, loss = realizable(mlp(4, 5, 4, 3, activation=leaky))
    symmetries = mlp_symmetries(model)
    whole, part = (flat_directions(model, loss, s) for s in (symmetries, symmetries[:1]))
    # A unit may be on one side of its kink for all samples, and linear: that is not for these symmetries to explain.
    assert (whole.explained, part.explained) == (whole.orbit_dimension, part.orbit_dimension) == (9, 5)
    assert part.unexplained == whole.unexplained + 4


def test_a_wrong_symmetry_is_no_flat_direction():
    """Matrices where there is an activation: only the diagonal ones are symmetries, and the point is refused."""
    model, _, loss = realizable(mlp(4, 5, 3, activation=leaky))
    with pytest.raises(ValueError, match=r"the point must be critical"):
        flat_directions(model, loss, linear_symmetries(model))
    found = flat_directions(model, loss, linear_symmetries(model), critical=False)
    assert found.orbit_dimension == 25 and found.explained == found.zeros == 5


@pytest.mark.parametrize("activation", [nn.Identity, nn.LeakyReLU])
def test_off_a_minimum_tangents_bend_with_the_gradient(activation):
    """H M w = -M^T grad L for linear actions, anywhere: the charges of the opposite sign act on the gradient."""
    model, x, loss = anywhere(mlp(4, 5, 3, activation=activation))
    symmetries = (linear_symmetries if activation is nn.Identity else mlp_symmetries)(model)
    hessian, tensors = Hessian(model, loss), named_tensors(model)
    sizes = [t.numel() for t in hessian.tensors.values()]
    parts = hessian.gradient.split(sizes)
    gradient = {n: g.view_as(t) for (n, t), g in zip(hessian.tensors.items(), parts, strict=True)}
    for s in symmetries:
        a = algebra_element(s)
        bent = hessian @ hessian.flat(s.generator(a, tensors))
        expected = hessian.flat(s.charged(-1).generator(a, gradient))
        assert float(expected.norm()) > 1e-6
        assert_close(bent, expected, rtol=1e-10, atol=1e-13)


def test_and_so_do_those_of_actions_that_are_not_linear():
    """H v = -(Dv)^T grad L, with autograd for Dv: a bias that slides through the next weight."""
    model, x, loss = anywhere(mlp(4, 5, 3, activation=nn.Identity))
    shift = next(s for s in isoloss.find(model, x) if not s.linear)
    hessian = Hessian(model, loss)
    a = algebra_element(shift)
    leaves = {n: t.detach().clone().requires_grad_() for n, t in hessian.tensors.items()}
    parts = hessian.gradient.split([t.numel() for t in leaves.values()])
    gradient = {n: g.view_as(leaves[n]) for n, g in zip(leaves, parts, strict=True)}
    v = shift.generator(a, leaves)
    slope = sum((v[n] * gradient[n]).sum() for n in v)
    back = torch.autograd.grad(slope, list(leaves.values()), allow_unused=True)
    expected = -hessian.flat({n: g for n, g in zip(leaves, back, strict=True) if g is not None})
    assert float(expected.norm()) > 1e-6
    assert_close(hessian @ hessian.flat(v), expected, rtol=1e-10, atol=1e-13)


def test_off_a_minimum_the_orbit_is_not_flat():
    model, x, loss = anywhere(mlp(4, 5, 3, activation=nn.Identity, bias=False))
    symmetries = linear_symmetries(model)
    with pytest.raises(ValueError, match=r"must be critical.* got a gradient of length .* critical=False"):
        flat_directions(model, loss, symmetries)
    found = flat_directions(model, loss, symmetries, critical=False)
    assert found.explained < found.orbit_dimension
    assert found.residual > 1e-3


def test_the_point_may_be_elsewhere_on_the_orbit():
    model, x, loss = linear_minimum(4, 6, 3)
    symmetries = linear_symmetries(model)
    tensors = named_tensors(model)
    moved = tensors | symmetries.act(symmetries.sample(0.3), tensors)
    here, there = (flat_directions(model, loss, symmetries, at=at) for at in (None, moved))
    assert (here.zeros, here.explained) == (there.zeros, there.explained)
    assert not torch.allclose(here.eigenvalues, there.eigenvalues)


def test_directions_that_need_a_buffer_to_move_do_not_count():
    """In front of a BatchNorm in eval mode a bias slides only together with the running mean."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sigmoid(), nn.Linear(4, 2)).double().eval()
    x = torch.randn(30, 3).double()
    model[1].running_var.uniform_(0.5, 2.0)
    y = model(x).detach()
    symmetries = isoloss.find(model, x)
    exact = [s for s in symmetries if s.dim and s.exact]
    assert any("1.running_mean" in s.parameters for s in exact)
    found = flat_directions(model, lambda: (model(x) - y).square().mean(), symmetries)
    assert found.explained == found.orbit_dimension > 0
    tensors = named_tensors(model)
    everything = tangent_space(exact, tensors, tensors)
    assert everything.shape[1] > found.orbit_dimension
    # The parameters' part of a direction that needs the buffer is none: it changes the outputs.
    inside = everything[: found.eigenvalues.numel()]
    h = Hessian(model, lambda: (model(x) - y).square().mean()).dense()
    assert float((h @ inside).norm()) > 1e6 * found.residual


def test_principal_angles():
    turn = torch.tensor(1e-9).double()
    x = torch.eye(5).double()[:, :2]
    y = torch.zeros(5, 3).double()
    y[0, 0], y[2, 0] = turn.cos(), turn.sin()
    y[1, 1], y[3, 1] = torch.tensor(0.8), torch.tensor(0.6)
    y[4, 2] = 1.0
    expected = torch.tensor([1e-9, torch.tensor(0.8).double().acos()]).double()
    assert_close(principal_angles(x, y), expected, rtol=1e-6, atol=0)
    assert_close(principal_angles(y, x), expected, rtol=1e-6, atol=0)
    assert principal_angles(x, x[:, :0]).shape == (0,)


def test_without_a_symmetry_there_is_nothing_to_explain():
    model, x, loss = realizable(mlp(3, 4, 2, activation=nn.Sigmoid))
    with pytest.raises(
        ValueError, match=r"must be an exact continuous symmetry; got none, .*spectrum\(model, loss\)"
    ):
        flat_directions(model, loss, isoloss.find(model, x))
    with pytest.raises(ValueError, match=r"must be an exact continuous symmetry"):
        flat_directions(model, loss, Symmetries([], model))
    assert spectrum(model, loss).zeros() == 0
