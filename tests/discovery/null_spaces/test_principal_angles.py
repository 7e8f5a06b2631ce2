"""Angles between spans: small ones to all digits, rows of any kind, batches of mixed ranks."""

import pytest
import torch
from torch.testing import assert_close

from discovery.null_spaces.cases import CASES
from isoloss.discovery import null_space, principal_angles

EPS = torch.finfo(torch.float64).eps
DEGREE = torch.tensor(1.0, dtype=torch.float64).rad2deg()


def rotated(angles: torch.Tensor, p: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two spans of as many dimensions at these angles (radians), rows orthonormal, in a random frame."""
    k = len(angles)
    frame = torch.linalg.qr(torch.randn(p, p, dtype=torch.float64)).Q
    a = frame[:k]
    return a, angles.cos()[:, None] * a + angles.sin()[:, None] * frame[k : 2 * k]


ANGLES = torch.tensor([1e-13, 1e-10, 1e-6, 0.3, torch.pi / 4, 1.2, torch.pi / 2 - 1e-9], dtype=torch.float64)


def test_small_and_large_angles_keep_their_digits():
    """Up to rounding in the vectors themselves: a few eps each, over 7 of them in 20 dimensions."""
    a, b = rotated(ANGLES, 20)
    found = principal_angles(a, b)
    assert_close(found / DEGREE, ANGLES, rtol=0, atol=20 * EPS)
    assert_close(principal_angles(b, a) / DEGREE, ANGLES, rtol=0, atol=20 * EPS)


def test_a_cosine_alone_would_not_know_them():
    """The negative control, what the sine is for: the number next to 1 is the cosine of 1.5e-8."""
    a, b = rotated(ANGLES, 20)
    naive = torch.linalg.svdvals(a @ b.T).clamp(max=1.0).acos()
    assert ((naive[:2] - ANGLES[:2]).abs() > 0.5 * ANGLES[:2]).all()


def test_rows_may_be_any_that_span():
    """Mixed, scaled by ten orders of magnitude, repeated: the angles of the spans."""
    a, b = rotated(ANGLES[3:], 12)
    mixed = torch.randn(9, 4, dtype=torch.float64) @ b
    scaled = a * torch.tensor([1e-5, 1.0, 1e5, 1e-2], dtype=torch.float64)[:, None]
    zeros = torch.cat([scaled, torch.zeros(3, 12, dtype=torch.float64), scaled[:1] + scaled[1:2]])
    found = principal_angles(zeros, mixed)
    assert found.shape == (8,)
    assert_close(found[:4] / DEGREE, ANGLES[3:], rtol=1e-12, atol=0)
    assert found[4:].isnan().all()


def test_rows_below_the_cut_do_not_count():
    a = torch.eye(3, dtype=torch.float64)[:2]
    nearly = torch.stack([a[0], a[0] + 1e-10 * a[1]])
    assert principal_angles(nearly, a).isnan().tolist() == [False, True]
    assert principal_angles(nearly, a, cut=1e-12).tolist() == pytest.approx([0.0, 0.0], abs=1e-4)


def test_one_direction_in_a_space_and_out_of_it():
    space = torch.eye(4, dtype=torch.float64)[:2]
    inside = torch.tensor([[3.0, 4.0, 0.0, 0.0]])
    halfway = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    assert principal_angles(inside, space).item() == pytest.approx(0.0, abs=1e-14)
    assert principal_angles(halfway, space).item() == pytest.approx(45.0, abs=1e-12)
    assert principal_angles(space, torch.eye(4, dtype=torch.float64)[2:]).tolist() == [90.0, 90.0]


def test_batches_are_as_one_by_one():
    """Also where the ranks differ from one to the next, and where one of both is shared."""
    a, b = torch.randn(6, 3, 8, dtype=torch.float64), torch.randn(6, 4, 8, dtype=torch.float64)
    a[1, 2] = 2 * a[1, 0]
    b[2, 1:] = 0.0
    found = principal_angles(a, b)
    assert found.shape == (6, 3) and found.isnan().sum(1).tolist() == [0, 1, 2, 0, 0, 0]
    for i in range(6):
        assert_close(principal_angles(a[i], b[i]), found[i], equal_nan=True)
    shared = principal_angles(a.reshape(2, 3, 3, 8), b[0])
    assert_close(shared[1, 2], principal_angles(a[5], b[0]))


def test_no_direction_has_no_angle():
    assert principal_angles(torch.randn(5, 0, 3), torch.randn(5, 2, 3)).shape == (5, 0)
    assert principal_angles(torch.zeros(2, 3), torch.eye(3)).isnan().all()


def test_symmetries_of_the_network_lie_in_the_null_space_and_others_do_not():
    """Velocities of the scalings of ReLU, by hand, against the null space at twenty points."""
    case = CASES["relu 2-3-2"]
    params, data = case.params(20), case.data(20)
    rows = []
    for i in range(3):
        w1, w2 = torch.zeros_like(params["w1"]), torch.zeros_like(params["w2"])
        w1[:, i], w2[:, :, i] = params["w1"][:, i], -params["w2"][:, :, i]
        rows.append(torch.cat([w1.flatten(1), w2.flatten(1)], 1))
    directions, null = torch.stack(rows, 1), null_space(case.loss, params, data)
    # float32 parameters are exact in float64; the sums over them round.
    assert float(principal_angles(directions, null.directions).max()) < 1e-12
    flipped = directions.clone()
    flipped[..., 6:] *= -1
    assert float(principal_angles(flipped, null.directions).max(1).values.median()) > 1.0


def test_random_directions_share_all_but_d_dimensions_with_a_null_space():
    """Dimensions add up: k + (p - d) - p. The d largest angles alone tell good directions from bad ones."""
    for name, d in (("relu 2-3-2", 1), ("relu with biases", 2)):
        case = CASES[name]
        params, data = case.params(9), case.data(9)
        null = null_space(case.loss, params, data)
        p, k = null.parameters.size, 4
        angles = principal_angles(torch.randn(9, k, p), null.directions)[null.rank == d]
        assert len(angles) and float(angles[:, : k - d].max()) < 1e-10
        assert float(angles[:, k - d :].median()) > 1.0


def test_mistakes_are_told():
    with pytest.raises(ValueError, match=r"rows, \(\*batch, k, p\) with one p; got \(2, 3\) and \(3, 2\)"):
        principal_angles(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="must be finite; got nan or inf in b"):
        principal_angles(torch.ones(2, 3), torch.full((1, 3), torch.nan))
    with pytest.raises(ValueError, match=r"the same batch; got \(2, 1, 3\) and \(4, 1, 3\)"):
        principal_angles(torch.ones(2, 1, 3), torch.ones(4, 1, 3))
