"""The instances that every law runs on, with readable ids."""

from fractions import Fraction

import pytest

from isoloss.groups import (
    Affine,
    ComplexScaling,
    GeneralLinear,
    Group,
    Orthogonal,
    Permutation,
    PositiveScaling,
    Product,
    SignFlip,
    Translation,
)

GROUPS = {
    group.name: group
    for group in (
        PositiveScaling(5),
        GeneralLinear(1),
        GeneralLinear(4),
        Orthogonal(1),
        Orthogonal(5),
        Orthogonal(4, fixes_ones=True),
        SignFlip(5),
        Permutation(6),
        Translation(3),
        Affine(3),
        ComplexScaling(3),
        GeneralLinear(3) * PositiveScaling(2),
        Product((Permutation(4) * Orthogonal(3), ComplexScaling(2), Affine(2))),
    )
}

_CHARGES = {
    PositiveScaling: (1, -1, 0, 2, Fraction(1, 2), -1.5),
    SignFlip: (1, -1, 2, -3, Fraction(4)),
    Translation: (1, -1, Fraction(1, 2)),
}


def charges(group: Group) -> tuple:
    """Some charges of the group's representations."""
    return _CHARGES.get(type(group), (1, -1))


every_group = pytest.mark.parametrize("group", [pytest.param(g, id=name) for name, g in GROUPS.items()])
every_action = pytest.mark.parametrize(
    ("group", "charge"),
    [pytest.param(g, c, id=f"{name} charge {c}") for name, g in GROUPS.items() for c in charges(g)],
)
