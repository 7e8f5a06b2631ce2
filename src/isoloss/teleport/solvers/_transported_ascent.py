"""Ascent on transported gradients: no pass through the network, and closed forms wherever there are some."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import inf, log, sqrt

import torch
from torch import Tensor

from isoloss._checks import is_whole
from isoloss.groups import GeneralLinear
from isoloss.symmetry import Block, Slot, Symmetries, Symmetry
from isoloss.teleport._matrices import Matrices, are_matrices
from isoloss.teleport._pair import Pair
from isoloss.teleport._point import Point
from isoloss.teleport._posynomial import Posynomial
from isoloss.teleport._quadratic import Quadratic, widen
from isoloss.teleport._scalings import Scalings, is_scaling
from isoloss.teleport.objectives import Objective
from isoloss.teleport.solvers._solver import Solution


@dataclass(frozen=True)
class TransportedAscent:
    """Raise or lower a sum of squares on the orbit: first all scalings jointly, then each GL in turn.

    Only the symmetric part of an algebra changes a norm (dissertation Cor. 4.5.2), so rotations, signs,
    permutations and the phases of complex scalings are not used; nor are translations, along which a length
    would have the unit of a parameter. Sums whose entries are weighted one by one are followed along scalings only.

    Attributes:
        sweeps: Steps of the joint ascent over the scalings when raising; each reads the gradients once.
        rounds: Times at most that all pairs are gone through when lowering without a bound.
    """

    sweeps: int = 1
    rounds: int = 20

    def __post_init__(self) -> None:
        for argument, value in (("sweeps", self.sweeps), ("rounds", self.rounds)):
            if not is_whole(value, least=1):
                raise ValueError(
                    f"TransportedAscent: {argument} must be a whole number of at least 1; got {value!r}; "
                    "the defaults are for training."
                )

    def uses(self, symmetry: Symmetry) -> bool:
        """Scalings, real or complex, and general linear groups that move every entry from one side only."""
        return is_scaling(symmetry) or (
            isinstance(symmetry.group, GeneralLinear) and are_matrices(symmetry) and _one_sided(symmetry)
        )

    def check(self, objective: Objective, symmetries: Symmetries, radius: float, loss: bool) -> None:
        """Refuse what cannot work, before there is a point; see `Solver`.

        Raises:
            TypeError: If the objective is not a sum of squares.
            ValueError: If it is to be raised without a bound.
        """
        _form(objective)
        self._check_bound(objective, radius)

    def solve(
        self,
        objective: Objective,
        symmetries: Sequence[Symmetry],
        scalings: Scalings,
        point: Point,
        radius: float,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Find elements within the radius; see `Solver.solve`.

        Raises:
            TypeError: If the objective is not a sum of squares.
            ValueError: If it is to be raised without a bound, or so far by matrices that rounding would change the
                function, or if there is no finite element to be found.
        """
        whole = hasattr(objective, "form")
        form = _form(objective)(point)
        self._check_bound(objective, radius)
        plain = whole and form.power == -1 and not form.weights
        elements: list[Tensor | None] = [None] * len(symmetries)
        moving = {c.name for c in scalings.cells}
        rest = form.value([n for n in form.tensors if n not in moving], scalings.dtype, scalings.device)
        posynomial = Posynomial(scalings, form)
        before = rest + posynomial.here
        pairs = [i for i in range(len(symmetries)) if i not in scalings.members] if whole else []
        if radius == 0.0 or (pairs and not before.isfinite()):
            return Solution(elements, before, before, torch.zeros_like(before), transported=plain)
        s = scalings.ones()
        if scalings.members:
            s = posynomial.lowered(radius) if objective.lower else posynomial.raised(radius, self.sweeps)
            for i, g in zip(scalings.members, scalings.elements(s), strict=True):
                elements[i] = g
        after = rest + posynomial.value(s)
        sizes = [s.log().abs().amax()] if scalings.members else [torch.zeros_like(after)]
        if pairs:
            form = _scaled(form, scalings, s, {n for i in pairs for n in symmetries[i].parameters})
            chosen = [symmetries[i] for i in pairs]
            found, change = self._matrices(chosen, form, radius, objective, scalings.dtype)
            # The change is a difference of large numbers where little remains.
            after = (after + change.to(after)).clamp_min(0.0)
            for i, g in zip(pairs, found, strict=True):
                elements[i] = g
                # Closed forms go to the edge of the radius; what an unbounded search has found must be measured.
                size = (
                    torch.linalg.svdvals(g).log().abs().amax()
                    if objective.lower
                    else torch.full_like(after, radius)
                )
                sizes.append(size.to(after))
        return Solution(elements, before, after, torch.stack(sizes).amax(), transported=plain)

    def _check_bound(self, objective: Objective, radius: float) -> None:
        if not objective.lower and radius == inf:
            raise ValueError(
                f"TransportedAscent: {objective.name} has no maximum on an orbit; got radius inf; give a finite radius."
            )

    def _matrices(
        self,
        symmetries: Sequence[Symmetry],
        form: Quadratic,
        radius: float,
        objective: Objective,
        dtype: torch.dtype,
    ) -> tuple[list[Tensor], Tensor]:
        """`_in_turn`, refused where the numbers do not suffice."""
        # A matrix costs eps * cond(g) = eps * exp(2 radius) of every weight: more than half the digits is too much.
        farthest = -log(torch.finfo(dtype).eps) / 4
        if not objective.lower and radius > farthest:
            raise ValueError(
                f"TransportedAscent: matrices must leave half of the digits of {dtype}; got radius {radius:g} "
                f"and {symmetries[0].name} on {', '.join(symmetries[0].parameters)}; give at most {farthest:.2f}."
            )
        try:
            found, change = self._in_turn(symmetries, form, radius, objective.lower)
            if not change.isfinite():  # eigh may return nan where it should fail
                raise torch.linalg.LinAlgError("the sum of squares overflows")
        except torch.linalg.LinAlgError as error:
            raise ValueError(
                f"TransportedAscent: matrices must be finite; got none at radius {radius:g} for the {objective.name} "
                f"({error}); nothing was changed; use a smaller radius."
            ) from error
        return found, change

    def _in_turn(
        self, symmetries: Sequence[Symmetry], form: Quadratic, radius: float, lower: bool
    ) -> tuple[list[Tensor], Tensor]:
        """Elements of general linear groups, each found where those before it lead, and the change of the sum."""
        first = next(iter(form.tensors.values()))
        total = torch.zeros((), dtype=torch.float64, device=first.device)
        found: list[Tensor] = []
        ridges: list[Pair] = []
        # Pairs that share a layer see one another: without a bound, go round until nothing changes.
        rounds = self.rounds if lower and radius == inf and len(symmetries) > 1 else 1
        for turn in range(rounds):
            gained = torch.zeros_like(total)
            for k, symmetry in enumerate(symmetries):
                pair = Pair.of(symmetry, form)
                if lower:
                    ridges += [pair.ridge()] if turn == 0 else []
                    g = pair.lowered(radius, ridges[k])
                    ridges[k] = ridges[k].moved(g)
                else:
                    g = pair.raised(radius)
                gained = gained + (pair.value(g) - pair.here)
                Matrices(symmetry, g).move_(form.tensors, form.power)
                found[k : k + 1] = [symmetry.group.compose(g, found[k]) if turn else g]
            total = total + gained
            if turn + 1 < rounds and gained.abs() <= sqrt(torch.finfo(torch.float32).eps) * total.abs():
                break
        return found, total


def _form(objective: Objective) -> Callable[[Point], Quadratic]:
    """What gives the sum of squares at a point: on the whole orbit, or along scalings.

    Raises:
        TypeError: If the objective is none.
    """
    found = getattr(objective, "form", getattr(objective, "scaling_form", None))
    if found is None:
        raise TypeError(
            f"TransportedAscent: the objective must have form(point), a sum of squares; "
            f"got {type(objective).__name__}; choose a solver that evaluates objectives, such as LieAscent()."
        )
    return found


def _one_sided(symmetry: Symmetry) -> bool:
    """Is there no entry that two slots move? A conjugation g W g^-1 is no sum of tr(S P) and tr(S^-1 N)."""
    pairs = combinations([slot for slot in symmetry.slots if isinstance(slot, Slot)], 2)
    return not any(a.parameter == b.parameter and _meet(a.block, b.block) for a, b in pairs)


def _meet(a: Block, b: Block) -> bool:
    return all(_indices(a, axis) & _indices(b, axis) for axis in range(len(a.start)))


def _indices(block: Block, axis: int) -> set[int]:
    along = [range(0, size * step, step) for size, step in block.factors[axis]]
    return {block.start[axis] + sum(i) for i in product(*along)}


def _scaled(form: Quadratic, scalings: Scalings, s: Tensor, names: set[str]) -> Quadratic:
    """The form after the scalings, for these names with tensors that may be written to."""
    tensors = {n: widen(x).clone() if n in names else x for n, x in form.tensors.items()}
    parts = scalings.parts(scalings.factors(s, form.power)) if scalings.members else ()
    for cells in scalings.cells:
        if cells.name in names and cells.name in tensors:
            for factor in cells.spread(parts):
                tensors[cells.name].mul_(factor.to(tensors[cells.name].device))
    return Quadratic(tensors, form.power, form.weights)
