"""The logarithm of a rotation is accurate at every angle, half turns included."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import Orthogonal
from laws import assert_equal

eps = torch.finfo(torch.float64).eps


def rotation(angles: list[float], n: int) -> torch.Tensor:
    """Turn planes of a random frame by the given angles."""
    frame = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q
    blocks = [torch.tensor([[0.0, -t], [t, 0.0]], dtype=torch.float64) for t in angles]
    rest = n - 2 * len(angles)
    a = torch.block_diag(*blocks, torch.zeros(rest, rest, dtype=torch.float64))
    return frame @ Orthogonal(n).exp(a) @ frame.mT


def assert_logarithm(a: torch.Tensor, g: torch.Tensor) -> None:
    """exp(a) == g; a is antisymmetric, and turns no plane by more than pi."""
    n = g.shape[-1]
    atol = 64 * n**1.5 * eps  # 64 operations, see laws.assert_log_inverts_exp
    assert_close(Orthogonal(n).exp(a), g, rtol=0, atol=atol)
    assert_equal(a.mT, -a)
    assert torch.linalg.norm(a, 2) <= torch.pi + atol


@pytest.mark.parametrize(
    "short", [0.0, 1e-17, 1e-15, 1e-14, 1e-12, 1e-8, 1e-6, 1e-3, 0.5, torch.pi / 2, 2.0, torch.pi]
)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_near_half_turns(n, short):
    """All planes turned by pi minus about ``short``; then all but the last, which keeps still."""
    angles = [torch.pi - short * f for f in (1.0, 0.5, 0.01, 1.0)[: n // 2]]
    for turned in (angles, angles[:-1]):
        g = rotation(turned, n)
        assert_logarithm(Orthogonal(n).log(g), g)


def test_half_turns_but_for_rounding():
    """Distances from pi about eps, where rounding alone decides in which planes g turns and which way."""
    for n in (4, 8, 12):
        for trial in range(60):
            short = 10.0 ** (-17 + 4 * torch.rand(n // 2, dtype=torch.float64))
            if trial % 2:
                short[0] = 0.1  # beside a plane that sets the scale
            g = rotation((torch.pi - short).tolist(), n)
            assert_logarithm(Orthogonal(n).log(g), g)


@pytest.mark.parametrize(
    "signs", [(-1, -1), (-1, -1, 1), (-1, -1, -1, -1), (1, 1, 1), (-1, 1, -1, 1, -1, -1)], ids=str
)
def test_diagonal_rotations(signs):
    g = torch.diag(torch.tensor(signs, dtype=torch.float64))
    assert_logarithm(Orthogonal(len(signs)).log(g), g)


def test_planes_at_the_thresholds_are_not_cut():
    """Angles whose cosines are 0 and -1/2, many times over: eigenvalues fall on both sides by rounding."""
    for angles in ([torch.pi / 2] * 4, [2 * torch.pi / 3] * 4, [torch.pi / 2, 2 * torch.pi / 3] * 3):
        g = rotation(angles, 2 * len(angles) + 1)
        assert_logarithm(Orthogonal(g.shape[-1]).log(g), g)


def test_spread_out_angles():
    g = rotation(torch.linspace(-torch.pi, torch.pi, 30).tolist(), 60)
    assert_logarithm(Orthogonal(60).log(g), g)


def test_the_angle_of_a_plane():
    for angle in (1e-9, 0.1, 1.0, 3.0, -3.0):
        turn = rotation([angle], 2)
        a = Orthogonal(2).log(turn)
        assert_close(
            a.abs().max(), torch.tensor(abs(angle), dtype=torch.float64), rtol=0, atol=64 * 2**1.5 * eps
        )


def test_the_identity_has_logarithm_zero_exactly():
    assert_equal(Orthogonal(3).log(torch.eye(3).repeat(2, 1, 1)), torch.zeros(2, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_narrow_dtypes_round_but_agree(dtype):
    """Computed in float64 from a g that was rounded: |log| / eps of pi at most, and again on the way back."""
    group = Orthogonal(4)
    g = group.sample((3,), dtype=dtype)
    assert_close(
        group.exp(group.log(g)).double(), g.double(), rtol=0, atol=4**1.5 * torch.pi * torch.finfo(dtype).eps
    )
