"""Th. 2.3.8 and Cor. A.2.10: where they hold, and a counterexample where not."""

from math import comb

import pytest
import torch

from finding.spans import rank, tangents
from isoloss.groups import GeneralLinear, Orthogonal, PositiveScaling
from isoloss.landscape import generic_orbit_dimension, published_orbit_dimension
from networks import hidden, mlp

GROUPS = {"linear": GeneralLinear, "homogeneous": PositiveScaling, "radial": Orthogonal}
SIZES = [(m, h, n) for m in range(1, 5) for h in range(1, 9) for n in range(1, 5)]


def dimension(activation, u, v):
    """The rank of all velocities at (U, V), literally."""
    (m, h), n = u.shape, v.shape[1]
    symmetries = hidden(mlp(n, h, m, bias=False), GROUPS[activation], activation)
    moving = [s for s in symmetries if s.dim]
    return rank(tangents(moving, {"0.weight": v, "2.weight": u}, ["0.weight", "2.weight"]))


@pytest.mark.parametrize("activation", GROUPS)
def test_the_formula_holds_at_random_points(activation):
    for m, h, n in SIZES:
        u, v = torch.randn(m, h).double(), torch.randn(h, n).double()
        assert dimension(activation, u, v) == generic_orbit_dimension(m, h, n, activation), (m, h, n)


@pytest.mark.parametrize("activation", GROUPS)
def test_what_is_printed_holds_at_the_pair_of_the_proof(activation):
    """U = [1 0], V = [1 0]^T: of full rank, and special."""
    for m, h, n in SIZES:
        u, v = torch.eye(m, h).double(), torch.eye(h, n).double()
        assert dimension(activation, u, v) == published_orbit_dimension(m, h, n, activation), (m, h, n)


def test_the_theorem_fails_for_three_hidden_units_of_one_input_and_output():
    """All three scales matter, and two vectors in space are fixed by no rotation."""
    u, v = torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.tensor([[3.0], [1.0], [1.0]]).double()
    assert dimension("homogeneous", u, v) == 3 and published_orbit_dimension(1, 3, 1, "homogeneous") == 1
    assert dimension("radial", u, v) == 3 and published_orbit_dimension(1, 3, 1, "radial") == 2


def test_where_the_theorem_differs_from_what_is_so():
    for m, h, n in SIZES:
        generic, printed = (
            [f(m, h, n, a) for a in GROUPS] for f in (generic_orbit_dimension, published_orbit_dimension)
        )
        assert generic[0] == printed[0]
        assert (generic[1] != printed[1]) == (h > max(n, m))
        # A stabilizer O(1) has no dimension.
        assert (generic[2] != printed[2]) == (h > max(n, m) + 1)


def test_known_values():
    assert generic_orbit_dimension(5, 50, 10, "linear") == 700  # section 2.8.2
    assert generic_orbit_dimension(5, 50, 10, "radial") == comb(50, 2) - comb(35, 2)


@pytest.mark.parametrize("f", [generic_orbit_dimension, published_orbit_dimension])
def test_messages(f):
    with pytest.raises(ValueError, match=r"m, h and n must be whole numbers of at least 1; got 0, 3, 1"):
        f(0, 3, 1, "linear")
    with pytest.raises(
        ValueError, match=r"activation must be one of linear, homogeneous, radial; got 'relu'"
    ):
        f(1, 3, 1, "relu")
