"""Search over permutations and signs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import Permutation, SignFlip
from isoloss.symmetry import Symmetries, Symmetry
from isoloss.teleport._orbit import Elements, orbit
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Objective
from isoloss.teleport.objectives._objective import check_on_orbit
from isoloss.teleport.solvers._settings import check_counts
from isoloss.teleport.solvers._solver import CONSTANT, SWITCHED_OFF, Solution

NOTHING = (
    "permutations and signs do not change a sum of squares; choose an objective that tells neurons apart"
)


@dataclass(frozen=True)
class DiscreteSearch:
    """Try permutations and signs: all of them where they are few, else swaps and flips, one after another.

    What improves the objective is kept. A sum of squares (gradient norm, parameter norm) is the
    same everywhere, as is anything else that treats all neurons alike: sums of squares are recognized, and cost
    nothing. What distinguishes neurons is for instance the distance to other weights, or an optimizer's state that
    stays behind. They have no size, so no radius bounds them; 0 switches the search off.

    Attributes:
        trials: Evaluations, after the first one.

    References:
        Dissertation, section 4.3: "for discrete groups, search algorithms or random sampling can be used".
    """

    trials: int = 256

    along_symmetries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(self, "trials")

    def uses(self, symmetry: Symmetry) -> bool:
        """Permutations and signs."""
        return isinstance(symmetry.group, Permutation | SignFlip)

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`."""
        check_on_orbit(objective, loss, "DiscreteSearch")

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find elements; see `Solver.solve`."""
        landscape = orbit(objective, symmetries, scalings, point)
        best: Elements = [None] * len(symmetries)
        before = after = landscape.value(best)
        if not radius > 0.0:
            return Solution(best, before, after, torch.zeros_like(before), skipped=SWITCHED_OFF)
        if landscape.free or not symmetries:
            return Solution(best, before, after, torch.zeros_like(before), skipped=NOTHING)
        sign = -1.0 if objective.lower else 1.0
        start: Elements = [_identity(s, point) for s in symmetries]
        few = prod(_order(s) for s in symmetries) <= self.trials
        everything = _all(symmetries, start) if few else iter(())
        reached = start
        for _ in range(self.trials):
            trial = next(everything, None) if few else _neighbour(symmetries, reached, generator)
            if trial is None:
                break
            value = landscape.value(trial)
            if value.isfinite() and sign * (value - after) > 0.0:
                reached, after = trial, value
        moved = not landscape.noise.hides(sign * (after - before), before)
        return Solution(
            reached if moved else best,
            before,
            after if moved else before,
            torch.zeros_like(before),
            skipped=None if moved else CONSTANT,
        )


def _identity(symmetry: Symmetry, point: Point) -> Tensor:
    x = point.tensors[symmetry.parameters[0]]
    return symmetry.identity(dtype=torch.promote_types(torch.float32, x.dtype), device=x.device)


def _order(symmetry: Symmetry) -> int:
    one = 2**symmetry.group.n if isinstance(symmetry.group, SignFlip) else factorial(symmetry.group.n)
    return one ** prod(symmetry.batch)


def _all(symmetries: Sequence[Symmetry], like: Elements) -> Iterator[Elements]:
    def of(symmetry: Symmetry, g: Tensor) -> Iterator[Tensor]:
        n, rows = symmetry.group.n, prod(symmetry.batch)
        one = (
            product((1.0, -1.0), repeat=n) if isinstance(symmetry.group, SignFlip) else permutations(range(n))
        )
        return (torch.tensor(many).to(g).reshape(g.shape) for many in product(list(one), repeat=rows))

    return (
        list(g)
        for g in product(*(list(of(s, g)) for s, g in zip(symmetries, like, strict=True) if g is not None))
    )


def _neighbour(
    symmetries: Sequence[Symmetry], elements: Elements, generator: torch.Generator | None
) -> Elements:
    """One swap or flip, and with every toss of a coin one more: a neuron may need both to fit."""
    source = generator.device if generator else None
    while True:
        elements = _changed(symmetries, elements, generator)
        if torch.rand((), generator=generator, device=source) < 0.5:
            return elements


def _changed(
    symmetries: Sequence[Symmetry], elements: Elements, generator: torch.Generator | None
) -> Elements:
    """Two entries swapped, or one sign flipped, in one of the elements; every entry is as likely as any other."""

    def pick(n: int) -> int:
        source = generator.device if generator else None
        return int(torch.randint(n, (), generator=generator, device=source))

    sizes = [prod(s.batch) * s.group.n for s in symmetries]
    entry, i = pick(sum(sizes)), 0
    while entry >= sizes[i]:
        entry, i = entry - sizes[i], i + 1
    old, n = elements[i], symmetries[i].group.n
    assert old is not None
    flat = old.clone().view(-1)
    if isinstance(symmetries[i].group, SignFlip):
        flat[entry] *= -1
    elif n > 1:
        other = entry - entry % n + (entry % n + 1 + pick(n - 1)) % n
        flat[[entry, other]] = flat[[other, entry]]
    return [*elements[:i], flat.view(old.shape), *elements[i + 1 :]]
