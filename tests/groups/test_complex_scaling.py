"""Complex scalings: against torch's complex numbers."""

import pytest
import torch
from torch.testing import assert_close

from isoloss.groups import ComplexScaling, PositiveScaling
from laws import assert_equal

group = ComplexScaling(3)


def as_complex(g: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(g.contiguous())


def point_as_complex(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(x[..., 0, :], x[..., 1, :])


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape, group.own) == ("C*^3", 6, (3, 2), 2)


def test_agrees_with_complex_arithmetic():
    g, h = group.sample((2,), scale=1.0, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    assert_close(as_complex(group.compose(g, h)), as_complex(g) * as_complex(h))
    assert_close(as_complex(group.inverse(g)), 1 / as_complex(g))
    assert_close(as_complex(group.log(g)).real, as_complex(g).log().real)
    assert_close(as_complex(group.log(g)).imag, as_complex(g).log().imag)
    assert_close(point_as_complex(group.act(g, x)), as_complex(g) * point_as_complex(x))
    assert_close(point_as_complex(group.act(g, x, -1)), point_as_complex(x) / as_complex(g).conj())


def test_powers_of_i_and_of_two_are_exact():
    """1, i, -1, -i times a power of two neither round nor mix."""
    quarter = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    g = quarter[torch.randint(4, (5, 3))] * 2.0 ** torch.randint(-3, 4, (5, 3, 1))
    x = torch.randn(5, 7, 2, 3)
    for charge in (1, -1):
        assert_equal(group.act(group.inverse(g), group.act(g, x, charge), charge), x)
    assert_equal(group.compose(g, group.inverse(g)), group.identity((5,)))


def test_contains_the_positive_scalings():
    s = PositiveScaling(3).sample(dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    g = torch.stack([s, torch.zeros_like(s)], -1)
    for charge in (1, -1):
        assert_close(group.act(g, x, charge), PositiveScaling(3).act(s, x, charge))


def test_rotary_scores_are_unchanged():
    """<R_i q, R_j k> for rotations by position: g on queries, 1 / conj(g) on keys, at every frequency."""
    q, k = torch.randn(2, 7, 2, 3, dtype=torch.float64)
    angles = torch.arange(7.0).double()[:, None] * torch.tensor([1.0, 0.1, 0.01]).double()
    turn = ComplexScaling(3).exp(torch.stack([torch.zeros_like(angles), angles], -1))

    def scores(q, k):
        return group.act(turn, q).flatten(1) @ group.act(turn, k).flatten(1).mT

    g = group.sample(scale=1.0, dtype=torch.float64)
    assert_close(scores(group.act(g, q), group.act(g, k, -1)), scores(q, k))
    assert (
        scores(group.act(g, q), group.act(g, k)) - scores(q, k)
    ).abs().max() > 1e-2  # the negative control


def test_phases_are_logged_between_minus_pi_and_pi():
    a = torch.tensor([[0.0, 3.0], [0.0, 4.0], [1.0, -4.0]], dtype=torch.float64)
    expected = a - torch.tensor([[0.0, 0.0], [0.0, 2 * torch.pi], [0.0, -2 * torch.pi]], dtype=torch.float64)
    assert_close(group.log(group.exp(a)), expected)


@pytest.mark.parametrize(
    "outsider",
    [
        torch.zeros(3, 2),
        torch.full((3, 2), torch.nan),
        torch.full((3, 2), torch.inf),
        torch.ones(2, 3),
        torch.ones(3),
        torch.ones(3, 2, dtype=torch.int64),
        torch.ones(3, dtype=torch.complex64),
    ],
    ids=["zero", "nan", "inf", "transposed", "real", "integers", "complex"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)


def test_takes_two_dimensions_of_the_point():
    with pytest.raises(
        ValueError, match=r"C\*\^3.act: shapes must be \(\*batch, 3, 2\) and \(\*batch, \*rest, 2, 3\)"
    ):
        group.act(group.identity(), torch.ones(3, 2))
