"""All scalings of a network as one vector of factors."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from isoloss.groups import ComplexScaling, PositiveScaling
from isoloss.symmetry import Symmetry
from isoloss.teleport._cells import Shape, locate


class Scalings:
    r"""The positive scalings among some symmetries, taken together.

    An entry of a parameter is multiplied by a product over its axes, an axis by a product over the scalings that
    act along it:

    .. math:: W'_{ij} = u_i v_j W_{ij}, \qquad u_i = \prod_k s_k^{c_{ik}}

    So a network is one vector of factors s, and one gather per layer of overlapping slots finds the factor of every
    *position*, an index of an axis of a parameter. Complex scalings (of rotary embeddings) take part with their
    modulus; their phases rotate, and change no norm.

    Args:
        symmetries: Any symmetries; those that are no scalings are passed over.
        shapes: Shape of every parameter by name.
        device: Where the factors live.
        dtype: Of the factors.

    Attributes:
        members: Which of the symmetries are scalings.
        cells: The parameters that they move.
        count: Number of factors.
    """

    def __init__(
        self,
        symmetries: Sequence[Symmetry],
        shapes: dict[str, Shape],
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        self.members = [i for i, s in enumerate(symmetries) if is_scaling(s)]
        self._symmetries = [symmetries[i] for i in self.members]
        self._sizes = [prod(s.batch) * s.group.n for s in self._symmetries]
        self.count = sum(self._sizes)
        self.device, self.dtype = device or torch.device("cpu"), dtype
        self.cells, variables, charges = locate(self._symmetries, shapes)
        self.lengths = [n for c in self.cells for n in c.lengths]
        place = {"device": self.device, "dtype": dtype}
        # Each axis of a parameter sees the whole of the parameter's sum.
        repeats = torch.tensor(self.lengths, dtype=torch.int64)
        self.share = torch.tensor([1 / len(c.axes) for c in self.cells for _ in c.axes]).repeat_interleave(
            repeats
        )
        crowd = torch.tensor([c.crowd for c in self.cells for _ in c.axes]).repeat_interleave(repeats)
        self.share, self._crowd = self.share.to(**place), crowd.to(**place)
        self._ones, self._one = torch.ones(self.count, **place), torch.ones(1, **place)
        # One table entry per distinct charge and factor, and a last one, 1, for positions that a layer leaves alone.
        distinct = charges.unique()
        self._charges = distinct.tolist()
        entries = torch.searchsorted(distinct, charges) * self.count + variables
        blank = torch.tensor(len(self._charges) * self.count)
        self._entries = list(torch.where(variables < 0, blank, entries).to(self.device))
        self._magnitudes = charges.abs().to(**place).unbind()
        self._rows = {sign: self._by_sign(variables, sign * charges) for sign in (1, -1)}

    def _by_sign(self, variables: Tensor, charges: Tensor) -> list[Tensor]:
        return list((variables.clamp_min(0) + self.count * (charges < 0)).to(self.device))

    def ones(self) -> Tensor:
        """The factors that move nothing."""
        return self._ones

    def parts(self, positions: Tensor) -> Sequence[Tensor]:
        """A vector over all positions as one view per axis; `Cells.of` picks those of a parameter."""
        return torch.split_with_sizes(positions, self.lengths)

    def factors(self, s: Tensor, power: float) -> Tensor:
        """What every position is multiplied by: power 1 for parameters, -1 for gradients, -2 for second moments."""
        # The exponent is a number: the result is exact where s is a power of two and power * c is whole.
        table = torch.cat([*(s ** (power * c) for c in self._charges), self._one])
        product = table.index_select(0, self._entries[0]) if self._entries else self._ones
        for layer in self._entries[1:]:
            product = product * table.index_select(0, layer)
        return product

    def collect(self, h: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """For every factor the sum of |charge| h over its positions: where sign * charge > 0, and where it is < 0."""
        total = h.new_zeros(2 * self.count)
        for index, size in zip(self._rows[sign], self._magnitudes, strict=True):
            _add(total, index, size * h)
        return total[: self.count], total[self.count :]

    def exponents(self, sign: int) -> tuple[Tensor, Tensor]:
        """The largest crowd * |charge| among the positions of every factor, apart as in `collect`."""
        largest = torch.zeros_like(self._ones).repeat(2)
        for index, size in zip(self._rows[sign], self._magnitudes, strict=True):
            largest.scatter_reduce_(0, index, size * self._crowd, "amax")
        return largest[: self.count], largest[self.count :]

    def elements(self, s: Tensor) -> list[Tensor]:
        """The factors as group elements, one per member."""
        parts = zip(self._symmetries, s.split(self._sizes) if self._sizes else [], strict=True)
        return [_element(m, part.reshape(*m.batch, m.group.n)) for m, part in parts]

    def vector(self, elements: Sequence[Tensor | None]) -> Tensor:
        """The factors of group elements, one per member; None scales nothing."""
        parts = zip(self._symmetries, self._sizes, elements, strict=True)
        flat = [
            self._ones[:n] if g is None else _modulus(m, g).to(self._ones).reshape(-1) for m, n, g in parts
        ]
        return torch.cat(flat) if flat else self._ones


def is_scaling(symmetry: Symmetry) -> bool:
    """Does it multiply by positive or complex numbers that depend on no parameter?"""
    return isinstance(symmetry.group, PositiveScaling | ComplexScaling) and symmetry.linear


def _element(symmetry: Symmetry, s: Tensor) -> Tensor:
    return torch.stack([s, torch.zeros_like(s)], -1) if isinstance(symmetry.group, ComplexScaling) else s


def _modulus(symmetry: Symmetry, g: Tensor) -> Tensor:
    return torch.linalg.vector_norm(g, dim=-1) if isinstance(symmetry.group, ComplexScaling) else g


def _add(total: Tensor, index: Tensor, values: Tensor) -> None:
    # On a GPU index_add_ adds in any order; accumulating index_put_ sorts, so that all ranks find the same element.
    if total.is_cpu:
        total.index_add_(0, index, values)
    else:
        total.index_put_((index,), values, accumulate=True)
