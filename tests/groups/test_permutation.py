"""Permutations are exact."""

from itertools import permutations

import pytest
import torch

from isoloss.groups import Permutation
from laws import assert_equal

group = Permutation(6)


def matrix(g: torch.Tensor) -> torch.Tensor:
    """The permutation matrix, entry by entry."""
    p = torch.zeros(len(g), len(g))
    for i, source in enumerate(g.tolist()):
        p[i, source] = 1
    return p


def test_size_and_name():
    assert (group.name, group.dim, group.element_shape, group.algebra_shape) == ("S_6", 0, (6,), (0,))


def test_convention():
    """Entry i of g x comes from place g[i] of x."""
    g, x = torch.tensor([2, 0, 1]), torch.tensor([10.0, 20.0, 30.0])
    assert_equal(Permutation(3).act(g, x), torch.tensor([30.0, 10.0, 20.0]))


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.complex64], ids=str
)
def test_there_and_back_again_in_any_dtype(dtype):
    g, x = group.sample((2,)), torch.randn(2, 3, 6).to(dtype)
    assert_equal(group.act(group.inverse(g), group.act(g, x)), x)


def test_all_of_s4_is_its_matrices():
    s4 = Permutation(4)
    everything = torch.tensor(list(permutations(range(4))))
    assert s4.contains(everything)
    for g in everything[::5]:
        for h in everything[::7]:
            assert_equal(matrix(s4.compose(g, h)), matrix(g) @ matrix(h))
        assert_equal(matrix(s4.inverse(g)), matrix(g).T)
        assert_equal(s4.act(g, torch.arange(4.0)), matrix(g) @ torch.arange(4.0))


def test_every_charge_acts_alike():
    g, x = group.sample(), torch.randn(3, 6)
    for charge in (-1, 0, 2.5):
        assert_equal(group.act(g, x, charge), group.act(g, x))


def test_pointwise_network_is_exactly_unchanged():
    """Dissertation Example 1.2.9, on integers, so that the order of the sums does not matter."""
    w1, w2, x = (torch.randint(-8, 9, s).float() for s in ((6, 5), (3, 6), (5, 16)))
    g = group.sample()
    w1_moved, w2_moved = group.act(g, w1.mT).mT, group.act(g, w2, -1)
    assert_equal(w2_moved @ (w1_moved @ x).relu(), w2 @ (w1 @ x).relu())


def test_samples_are_uniform():
    """Each of the 6 elements of S_3, 6,000 draws: counts are off by five standard deviations at most."""
    draws = Permutation(3).sample((6_000,))
    _, counts = torch.unique(draws, dim=0, return_counts=True)
    assert len(counts) == 6
    assert (counts - 1_000).abs().max() < 5 * (6_000 * 1 / 6 * 5 / 6) ** 0.5


@pytest.mark.parametrize(
    "outsider",
    [
        torch.zeros(6, dtype=torch.int64),
        torch.tensor([1, 2, 3, 4, 5, 6]),
        torch.tensor([0, 1, 2, 3, 4, -1]),
        torch.arange(5),
        torch.arange(6.0),
        torch.tensor(0),
    ],
    ids=["twice", "from one", "negative", "size", "floats", "scalar"],
)
def test_what_does_not_belong(outsider):
    assert not group.contains(outsider)


def test_only_the_identity_has_a_logarithm():
    assert group.log(group.identity((2,))).shape == (2, 0)
    match = r"S_6.log: g must be the identity.* got \[1, 0, 2, 3, 4, 5\]. Keep discrete elements"
    with pytest.raises(ValueError, match=match):
        group.log(torch.tensor([1, 0, 2, 3, 4, 5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool], ids=str)
def test_indices_are_int64(dtype):
    with pytest.raises(ValueError, match=r"S_6.act: permutations hold indices, int64; got .* g.long\(\)"):
        group.act(torch.arange(6).to(dtype), torch.ones(6))
