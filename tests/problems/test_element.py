"""Group elements from coordinates."""

import pytest
import torch
from torch.func import grad, jvp
from torch.testing import assert_close

from isoloss.groups import GeneralLinear, Orthogonal
from isoloss.problems import element, rotation


def test_a_quarter_turn_is_counter_clockwise():
    turned = rotation(torch.tensor(torch.pi / 2, dtype=torch.float64)) @ torch.tensor(
        [1.0, 0.0], dtype=torch.float64
    )
    assert_close(turned, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-15)


def test_in_the_plane_the_coordinate_is_the_angle():
    angles = torch.linspace(-3, 3, 7, dtype=torch.float64)
    group = Orthogonal(2)
    # The basis of the algebra turns clockwise; an exponential makes a few dozen roundings.
    assert_close(
        element(group, angles.unsqueeze(-1)),
        group.exp(-angles[:, None, None] * group.basis(dtype=angles.dtype)),
    )
    far = torch.tensor(1e5 * 2 * torch.pi + 0.3, dtype=torch.float64)
    assert_close(
        rotation(far), rotation(far.new_tensor(0.3)), rtol=0, atol=1e-10
    )  # 1e5 turns round to 1e5 eps


@pytest.mark.parametrize("group", [Orthogonal(3), GeneralLinear(2)], ids=lambda g: g.name)
def test_the_coordinates_are_those_of_the_basis(group):
    c = 0.3 * torch.randn(4, group.dim, dtype=torch.float64)
    basis = group.basis(dtype=torch.float64)
    assert_close(element(group, c), group.exp(torch.einsum("bd,dij->bij", c, basis)))
    zero = torch.zeros(group.dim, dtype=torch.float64)
    assert_close(
        jvp(lambda c: element(group, c), (zero,), (c[0],))[1], torch.einsum("d,dij->ij", c[0], basis)
    )
    assert grad(lambda c: element(group, c).square().sum())(c).shape == c.shape


def test_the_wrong_number_of_coordinates_is_refused():
    with pytest.raises(ValueError, match=r"O\(3\) has 3 coordinates; got \(2,\)"):
        element(Orthogonal(3), torch.zeros(2))
