"""The law of angular momentum along gradient flow."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from flow.running import NETS, flowed
from isoloss import flow
from isoloss.groups import Orthogonal, PositiveScaling
from isoloss.symmetry import Symmetries
from networks import Rotary, hidden, mlp, rotary_symmetries


class Radial(torch.nn.Module):
    """z / (1 + |z|): it commutes with rotations."""

    def forward(self, z):
        return z / (1 + z.norm(dim=-1, keepdim=True))


def radial():
    """A radial network, its rotations and its flow."""
    model = mlp(4, 3, 5, 2, activation=Radial).double()
    x, y = torch.randn(6, 4).double(), torch.randn(6, 2).double()
    trajectory = flow.gradient_flow(lambda m: (m(x) - y).square().sum(), model, 0.5, dense=True, rtol=1e-10)
    return hidden(model, Orthogonal, "radial"), trajectory


def test_it_is_the_matrix_of_the_theorem_and_zero_along_the_flow():
    """V V'^T - V' V^T + b b'^T - b' b^T + U^T U' - U'^T U, Eq. (2.13) with the biases of section A.2.9."""
    symmetries, trajectory = radial()
    x, v = trajectory[50], {n: t[50] for n, t in trajectory.velocities.items()}
    noise = {n: torch.randn_like(t) for n, t in v.items()}
    for velocity in (v, noise):
        for symmetry, (one, two) in zip(symmetries, (("0", "2"), ("2", "4")), strict=True):
            wedge = sum(
                p @ q.mT - q @ p.mT
                for p, q in (
                    (x[f"{one}.weight"], velocity[f"{one}.weight"]),
                    (x[f"{one}.bias"][:, None], velocity[f"{one}.bias"][:, None]),
                    (x[f"{two}.weight"].mT, velocity[f"{two}.weight"].mT),
                )
            )
            found = flow.angular_momentum(symmetry, velocity, x)
            assert_close(found, wedge)
            if velocity is v:  # rounding of sums of some tens of terms of size 1
                assert found.abs().max() < 1e-12
            else:
                assert found.abs().max() > 0.1


def test_it_is_a_sum_of_squared_radius_times_angular_velocity():
    """The same from the positions alone: angles between two times of the flow, in the plane of two neurons."""
    symmetries, trajectory = radial()
    h, t, (k, m) = 1e-3, 0.2, (0, 2)
    before, here, after = (trajectory(s) for s in (t - h, t, t + h))
    total, largest = 0.0, 0.0
    for name, axis in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
        planes = [p[name].movedim(axis, 0)[[k, m]].reshape(2, -1) for p in (before, here, after)]
        angles = [torch.atan2(p[1], p[0]) for p in (planes[0], planes[2])]
        turned = torch.remainder(angles[1] - angles[0] + torch.pi, 2 * torch.pi) - torch.pi
        terms = planes[1].square().sum(0) * turned / (2 * h)
        total, largest = total + terms.sum(), max(largest, float(terms.abs().max()))
    assert largest > 0.01 and abs(total) < 1e-4 * largest  # central differences: h^2 times third derivatives
    assert not flow.conserved_quantities(Symmetries([*symmetries, *_scaled()])).keys() - {"R+^2 on w"}


def _scaled():
    from isoloss.symmetry import Block, Slot, Symmetry

    return [Symmetry(PositiveScaling(2), (Slot("w", Block.whole((2,)), (0,)),))]


def test_the_phases_of_rotary_heads_have_one_too():
    model = Rotary().double()
    x = torch.randn(2, 3, 6).double()
    (symmetry,) = rotary_symmetries(model)
    trajectory = flow.gradient_flow(lambda m: m(x).square().sum(), model, [0.0, 0.1])
    here, velocity = trajectory[1], {n: v[1] for n, v in trajectory.velocities.items()}
    found = flow.angular_momentum(symmetry, velocity, here)
    assert found.abs().max() < 1e-12
    noise = {n: torch.randn_like(v) for n, v in velocity.items()}
    turning = 0.0
    for n in ("q.weight", "k.weight"):
        (re, im), (dre, dim) = (t[n].unflatten(0, (2, 4)) for t in (here, noise))
        turning = turning + (re * dim - im * dre).sum(-1)
    assert_close(flow.angular_momentum(symmetry, noise, here)[:, 1], turning)
    with pytest.raises(ValueError, match=r"contain rotations; got R\+\^3"):
        flow.angular_momentum(replace(symmetry, group=PositiveScaling(3)), velocity, here)


@pytest.mark.parametrize("name", NETS)
def test_the_velocity_of_the_flow_is_orthogonal_to_every_orbit(name):
    """Also to those of translations that pass through a weight, which conserve nothing; a cosine of rounding."""
    _, symmetries, trajectory = flowed(name, t=0.1, rtol=1e-6)
    found = flow.residual(symmetries, trajectory)
    assert len(found) == sum(s.dim > 0 for s in symmetries)
    for cosine in found.values():
        assert cosine.shape == trajectory.t.shape and cosine.max() < 1e-13


def test_the_velocity_is_not_orthogonal_to_what_is_no_orbit():
    model = mlp(4, 5, 2, activation=torch.nn.GELU).double()
    x = torch.randn(3, 4).double()
    trajectory = flow.gradient_flow(lambda m: m(x).square().sum(), model, [0.0, 0.1])
    (cosine,) = flow.residual(hidden(model, PositiveScaling, "scaling"), trajectory).values()
    assert cosine.min() > 1e-3
    with pytest.raises(ValueError, match="some symmetry must be continuous"):
        flow.residual(Symmetries([]), trajectory)


def test_a_symmetry_that_moves_a_frozen_parameter_has_no_law():
    model = mlp(4, 5, 5, 2).double()
    model[0].bias.requires_grad_(False)
    x = torch.randn(3, 4).double()
    trajectory = flow.gradient_flow(lambda m: m(x).square().sum(), model, [0.0, 0.1])
    symmetries = hidden(model, PositiveScaling, "scaling")
    with pytest.raises(ValueError, match=r"got none named 0.bias; .*within\(trajectory.tensors\)"):
        flow.residual(symmetries, trajectory)
    (cosine,) = flow.residual(symmetries.within(trajectory.tensors), trajectory).values()
    assert cosine.max() < 1e-13
