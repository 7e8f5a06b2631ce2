"""The comparison of what is found with what is expected: any basis will do, but not anything."""

from fractions import Fraction

import torch

from finding.spans import flips, flips_inside, inside, is_found, rank, tangents
from isoloss.groups import GeneralLinear, Orthogonal, PositiveScaling, SignFlip
from isoloss.symmetry import Block, Slot, Symmetry
from zoo._entry import linear, permutation, scaling, sign

# Two hidden layers: 3 -> 4 -> 4 -> 2
SHAPES = {"a": (4, 3), "b": (4, 4), "c": (2, 4)}
TENSORS = {n: torch.linspace(1, 2, s[0] * s[1], dtype=torch.float64).reshape(s) for n, s in SHAPES.items()}


def layer(group, *moves: tuple[str, int, int]) -> Symmetry:
    slots = tuple(Slot(n, Block.whole(SHAPES[n]), (d,), Fraction(c)) for n, d, c in moves)
    return Symmetry(group, slots)


FIRST = (("a", 0, 1), ("b", 1, -1))
SECOND = (("b", 0, 1), ("c", 1, -1))


def test_a_mixed_basis_of_scalings_spans_the_single_layers():
    """Found as (both together, the first alone), expected as first and second."""
    found = [layer(PositiveScaling(4), *FIRST, *SECOND), layer(PositiveScaling(4), *FIRST)]
    assert is_found(scaling(4, "a", "b"), found, TENSORS)
    assert is_found(scaling(4, "b", "c"), found, TENSORS)
    assert rank(tangents(found, TENSORS, TENSORS)) == 8


def test_what_is_not_in_the_span_is_not_found():
    found = [layer(PositiveScaling(4), *FIRST)]
    assert not is_found(scaling(4, "b", "c"), found, TENSORS)
    assert not is_found(scaling(4, "a", "b"), found[:0], TENSORS)
    assert not is_found(scaling(5, "a", "b"), found, TENSORS)
    assert not is_found(scaling(4, "a", "b"), [layer(SignFlip(4), *FIRST)], TENSORS)


def test_a_mixed_basis_of_signs_spans_the_single_layers():
    found = [layer(SignFlip(4), *FIRST, *SECOND), layer(SignFlip(4), *SECOND)]
    assert is_found(sign(4, "a", "b"), found, TENSORS)
    assert not is_found(sign(4, "a", "b"), found[1:], TENSORS)
    masks = flips(found[1:], TENSORS, TENSORS)
    assert len(masks) == 4 and all(m.bit_count() == 4 + 2 for m in masks)
    assert flips_inside([0b0110, 0b0011], 0b0101) == [0b0101]
    assert flips_inside([0b0110, 0b0011], 0b1000) == []


def test_matrix_groups_contain_permutations_signs_and_scalings():
    found = [layer(GeneralLinear(4), *FIRST)]
    for expected in (permutation(4, "a", "b"), scaling(4, "a", "b"), sign(4, "a", "b"), linear(4, "a")):
        assert is_found(expected, found, TENSORS)
        assert not is_found(permutation(4, "b", "c"), found, TENSORS)
    rotations = [layer(Orthogonal(4), *FIRST)]
    assert is_found(permutation(4, "a"), rotations, TENSORS) and is_found(
        sign(4, "a", "b"), rotations, TENSORS
    )
    assert not is_found(scaling(4, "a", "b"), rotations, TENSORS)
    assert not is_found(linear(4, "a", "b"), rotations, TENSORS)


def test_subspaces_that_vanish_outside_some_columns():
    rows = torch.tensor([[1.0, 1, 0], [0, 1, 1]], dtype=torch.float64)
    mask = torch.tensor([True, False, True])
    (found,) = inside(rows, mask)
    torch.testing.assert_close(found.abs(), torch.tensor([0.5, 0, 0.5], dtype=torch.float64).sqrt())
    assert len(inside(rows, torch.tensor([True, False, False]))) == 0
    assert rank(torch.zeros(0, 3)) == 0 and rank(torch.cat([rows, rows])) == 2
