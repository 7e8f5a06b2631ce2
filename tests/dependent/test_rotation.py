from math import acos, cos, pi, sin, sqrt

import pytest
import torch
from torch.testing import assert_close

from isoloss.dependent import rotation

EPS = torch.finfo(torch.float64).eps


def literal(z):
    """Definition A.3.1 with the spherical coordinates of z, angle by angle (Proposition A.3.3)."""
    z, h = z.tolist(), len(z)
    r, alpha = sqrt(sum(x * x for x in z)), []
    for i in range(h - 2):
        tail = sqrt(sum(x * x for x in z[i:]))
        alpha.append(acos(z[i] / tail) if tail else 0.0)
    if h > 1:  # the last angle carries the sign of the last coordinate
        tail = sqrt(z[-2] ** 2 + z[-1] ** 2)
        angle = acos(z[-2] / tail) if tail else 0.0
        alpha.append(angle if z[-1] >= 0 else 2 * pi - angle)
    a = [0.0, *alpha, 0.0]
    rows = torch.zeros(h, h).double()
    for i in range(1, h + 1):
        for j in range(1, h + 1):
            if j <= i:
                product = 1.0
                for k in range(j, i):
                    product *= sin(a[k])
                rows[i - 1, j - 1] = cos(a[j - 1]) * product * cos(a[i])
            elif j == i + 1:
                rows[i - 1, j - 1] = -sin(a[i])
    return r * rows


@pytest.mark.parametrize("h", [1, 2, 3, 7])
def test_it_is_the_matrix_of_the_definition(h):
    for _ in range(5):
        z = torch.randn(h).double()
        # Angles near 0 lose half of their digits in acos; the tolerance is for the literal version.
        assert_close(rotation(z), literal(z), rtol=0, atol=1e-7)


@pytest.mark.parametrize("h", [1, 2, 3, 40, 1000])
def test_first_column_and_inverse(h):
    z = torch.randn(h).double()
    r = rotation(z)
    assert_close(r[:, 0], z, rtol=4 * EPS, atol=0)
    # n^1.5 roundings in the product, of entries of size |z|^2.
    bound = 4 * h**1.5 * EPS * float(z @ z)
    assert_close(r @ r.mT, float(z @ z) * torch.eye(h).double(), rtol=0, atol=bound)


@pytest.mark.parametrize(
    "z", [[3.0, 0, 0], [0, 3.0, 0], [0, 0, -3.0], [1.0, 2.0, 0], [0, 0, 1e-200]], ids=str
)
def test_where_angles_vanish(z):
    z = torch.tensor(z, dtype=torch.float64)
    r = rotation(z)
    assert_close(r[:, 0], z, rtol=4 * EPS, atol=0)
    length = r[:, 0].abs().max() * (r[:, 0] / r[:, 0].abs().max()).norm()
    assert_close((r / length) @ (r / length).mT, torch.eye(3).double(), rtol=0, atol=16 * EPS)


def test_a_unit_vector_gives_a_rotation_of_determinant_one():
    z = torch.randn(6).double()
    assert_close(torch.linalg.det(rotation(z / z.norm())), torch.tensor(1.0).double())


def test_zero_is_refused():
    with pytest.raises(ValueError, match="not zero"):
        rotation(torch.zeros(4))
