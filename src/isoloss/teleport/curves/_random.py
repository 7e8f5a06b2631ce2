"""Curves in random directions."""

from collections.abc import Iterable

import torch

from isoloss._checks import is_whole
from isoloss.groups import GeneralLinear
from isoloss.symmetry import Symmetry
from isoloss.teleport.curves._forward import ForwardCurve
from isoloss.teleport.curves._inverse import InverseCurve
from isoloss.teleport.curves._layers import LayerPair
from isoloss.teleport.curves._orbit import OrbitCurve


def random_curves(
    along: Iterable[Symmetry | LayerPair],
    count: int = 1,
    generator: torch.Generator | None = None,
    *,
    action: type[ForwardCurve] | type[InverseCurve] = ForwardCurve,
) -> list[OrbitCurve | ForwardCurve | InverseCurve]:
    """Curves along random algebra elements, `count` for each continuous symmetry and each pair of layers.

    Args:
        along: Symmetries that `find` has found, of which discrete ones are passed over, and pairs of layers, along
            which GL(h) acts in a data-dependent way.
        count: How many for each: k of Eq. (5.2).
        generator: Source of the random numbers.
        action: The data-dependent action, 1 (`InverseCurve`) or 2 (`ForwardCurve`).

    Raises:
        ValueError: If count is no such number.

    References:
        Dissertation, section 5.2.2: "randomly selected Lie algebra elements". Entries are Gaussian; their size
        does not matter.
    """
    if not is_whole(count, least=1):
        raise ValueError(
            f"random_curves: count must be a whole number of at least 1; got {count!r}; it is k of Eq. (5.2)."
        )
    if not isinstance(along, Iterable):
        raise ValueError(
            f"random_curves: along must be symmetries, or pairs of layers; got {along!r}; pass what find() returned."
        )
    curves: list[OrbitCurve | ForwardCurve | InverseCurve] = []
    for one in along:
        for _ in range(count):
            if isinstance(one, LayerPair):
                group = GeneralLinear(one.width)
                g = group.sample(scale=SMALL, generator=generator, dtype=torch.float64)
                curves.append(action(one, group.log(g)))
            elif one.dim:
                curves.append(
                    OrbitCurve(one, one.group.log(one.sample(SMALL, generator, dtype=torch.float64)))
                )
    return curves


# Groups draw elements, not their logarithms; small ones have a principal logarithm, and size does not matter.
SMALL = 0.1
