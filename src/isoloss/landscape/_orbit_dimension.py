"""How many directions of parameter space the symmetries move a point in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoloss.finding._tangents import Columns, noise, unit, velocities
from isoloss.landscape._chain import chains
from isoloss.landscape._peel import Cut, Remainder, peeled
from isoloss.landscape._rank import Entries, rank
from isoloss.symmetry import Symmetries, Symmetry, named_tensors

# Entries of the generators that are kept at once: 24 bytes each.
MOST = 120_000_000


@dataclass(frozen=True)
class OrbitDimension:
    r"""The dimensions of an orbit and of the stabilizer of a point in it.

    .. math:: \dim \mathrm{orbit} = \dim G - \dim \mathrm{Stab}(w)

    Attributes:
        dimension: Of the orbit: the rank of the generators.
        stabilizer: Of the algebra elements that move nothing, relations between families included.
        algebra: Sum of the dimensions of the groups.
        parameters: Number of entries that can move.
        gap: Smallest relative singular value that counted over the largest that did not; near 1 the rank is a guess.
    """

    dimension: int
    stabilizer: int
    algebra: int
    parameters: int
    gap: float

    def __str__(self) -> str:
        return (
            f"the orbit has dimension {self.dimension}, the stabilizer {self.stabilizer} of {self.algebra} "
            f"({self.parameters} parameters that move, singular values {self.gap:.0e} apart)"
        )


def orbit_dimension(
    model: nn.Module | Mapping[str, Tensor], symmetries: Iterable[Symmetry]
) -> OrbitDimension:
    r"""The dimension of the orbit through a point, as the numerical rank of all generators there, in float64.

    .. math:: \dim \mathrm{orbit}(w) = \operatorname{rank} \bigl( a \mapsto a \cdot w \bigr), \qquad
        a \in \textstyle\bigoplus_s \mathfrak g_s

    All families count together, so that what two of them have in common (a translation that an affine map contains,
    the scalar multiples at two ends of one layer) counts once. The stabilizer is what is left of the algebra.

    The matrix of the generators is never formed where it need not be. Chains of linear layers are counted by the
    ranks of products of their weights, layer by layer. Elsewhere blocks that only one group of matrices moves are
    asked first, by decompositions of matrices as wide as the layer, and so on inward. What remains is a matrix with
    few entries, decomposed part by connected part.

    Relative singular values above 1e-8 count; of those below, down to 1e-14, all above the widest gap. They are
    relative to the largest of a layer's blocks, and in what remains to velocities of length one, so that the scale
    of single neurons does not matter. Velocities shorter than 4 eps of what moves are zero.

    Args:
        model: The model, or its parameters and buffers by name, for instance moved ones.
        symmetries: What `find` has found, or some of it. Discrete ones move nothing; approximate ones count like
            others, so leave them out with `symmetries.where(lambda s: s.exact)` if the level set is meant.

    Returns:
        The dimensions and the gap; without a continuous symmetry the orbit is a point, of dimension 0.

    Raises:
        ValueError: If there are no parameters, one that moves is missing or has another shape than
            when the symmetries were found, a symmetry acts by a flow, as discovered ones do, or what remains would
            not fit, which for groups of matrices is told before it is formed.

    References:
        Dissertation, sections 2.3.2 and A.2.6; Eq. (2.5) for the generators.
    """
    chosen = [s for s in symmetries if s.dim]
    if flows := [s.name for s in chosen if s.whole]:
        raise ValueError(
            "landscape.orbit_dimension: symmetries must act by slots, by which it counts; got "
            f"{flows[0]}, which acts as a whole; leave it out with symmetries.where(lambda s: not s.whole)."
        )
    tensors = _point(model, chosen)
    if isinstance(symmetries, Symmetries):
        symmetries.where(lambda s: s.dim > 0).check_fits(tensors, "landscape.orbit_dimension")
    coordinates = {n: tensors[n] for n in dict.fromkeys(n for s in chosen for n in s.parameters)}
    columns, seen = Columns(coordinates), Cut()
    found = chains(chosen, tensors, columns)
    inside = {id(s) for members, _ in found for s in members}
    parts = peeled([s for s in chosen if id(s) not in inside], tensors, columns, seen)
    _refuse(sum(part.entries for part in parts))
    entries, rows = _entries(parts, tensors, columns)
    algebra, left = sum(s.dim for s in chosen), sum(part.dim for part in parts)
    stabilizer = left - rank(entries, (rows, columns.count), seen)
    stabilizer += sum(chain.stabilizer(seen) for _, chain in found)
    gap = seen.kept / seen.dropped
    return OrbitDimension(algebra - stabilizer, stabilizer, algebra, columns.count, gap)


def _point(model: nn.Module | Mapping[str, Tensor], symmetries: list[Symmetry]) -> dict[str, Tensor]:
    named = named_tensors(model) if isinstance(model, nn.Module) else dict(model)
    if not named:
        raise ValueError(
            "landscape.orbit_dimension: there must be parameters; got none; give the model whose symmetries they are."
        )
    needed = dict.fromkeys(n for s in symmetries for n in (*s.parameters, *s.reads))
    if missing := [n for n in needed if n not in named]:
        raise ValueError(
            f"landscape.orbit_dimension: every parameter that moves must be there; got none called {missing[0]}; "
            "give the model in which the symmetries were found, or all of its parameters and buffers by name."
        )
    return {n: named[n].detach().to("cpu", torch.float64).contiguous() for n in needed}


def _entries(parts: list[Remainder], tensors: dict[str, Tensor], columns: Columns) -> tuple[Entries, int]:
    """The unit velocities of what remains, without zeros, and their number."""
    none = torch.zeros(0, dtype=torch.int64)
    found, count = [Entries(none, none, torch.zeros(0, dtype=torch.float64))], 0
    for part in parts:
        if not part.slots:
            continue  # all blocks were asked: what remains leaves everything as it is
        floor = noise(part.symmetry, tensors)
        own = Columns({n: tensors[n] for n in part.symmetry.parameters})
        places = columns.among(own)
        for a in part.directions(own.count):
            # What was asked already does not move, up to rounding that would connect everything.
            rows = unit(velocities(part.symmetry, a, tensors, own, part.slots), floor)
            where = rows.nonzero()
            found.append(Entries(where[:, 0] + count, places[where[:, 1]], rows[where[:, 0], where[:, 1]]))
            count += len(rows)
            _refuse(sum(len(e.values) for e in found))
    return Entries(*(torch.cat(part) for part in zip(*found, strict=True))), count


def _refuse(entries: int) -> None:
    if entries > MOST:
        raise ValueError(
            f"landscape.orbit_dimension: the generators may have {MOST:,} entries that are not zero, 3 GB, once what "
            f"can be told layer by layer is told; got {entries:,}; take a narrower model of the same kind, "
            "or some of the symmetries."
        )
