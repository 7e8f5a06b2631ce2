"""Parameters, gradients, momenta and second moments, moved together by the same group elements."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from isoloss.groups import ComplexScaling
from isoloss.symmetry import Symmetry
from isoloss.teleport._move import Move
from isoloss.teleport._quadratic import widen
from isoloss.teleport._scalings import Scalings
from isoloss.teleport._state import GRADIENT, PARAMETER, Carrier, Factored, States


def together(
    symmetries: Sequence[Symmetry],
    elements: Sequence[Tensor | None],
    scalings: Scalings,
    parameters: Mapping[str, Tensor],
    states: Sequence[States],
    where: str,
) -> Move:
    """Collect what has to be written so that everything moves by the elements: the scalings first, then the others.

    Positive scalings multiply in place. Whatever another symmetry also moves is computed as a new tensor.

    Args:
        symmetries: What the elements belong to.
        elements: One per symmetry; None moves nothing.
        scalings: The scalings among them.
        parameters: Parameters and buffers by name.
        states: Gradients, and the optimizer's state.
        where: Name of the caller, for messages.

    Returns:
        The move, yet to be committed.
    """
    move = Move(where)
    fast = [_positive(symmetries[i], elements[i]) for i in scalings.members]
    done = {i for i, g in zip(scalings.members, fast, strict=True) if g is not None}
    rest = [
        Carrier(symmetry, g)
        for i, (symmetry, g) in enumerate(zip(symmetries, elements, strict=True))
        if g is not None and i not in done
    ]
    factors = _Factors(scalings, scalings.vector(fast)) if done else None
    moving = {name for carrier in rest for name in carrier.symmetry.parameters}
    reading = {name for carrier in rest for name in carrier.symmetry.reads}
    places: list[dict[str, Tensor]] = []  # the parameters before each of the rest, where that matters
    for family in [States("parameter", PARAMETER, dict(parameters)), *states]:
        copied = moving | reading | (family.tensors.keys() if isinstance(family, Factored) else set())
        new = {n: widen(x).clone() for n, x in family.tensors.items() if n in copied}
        written = moving | (reading if family.kind is GRADIENT else set())
        if factors is not None and family.kind.power:
            written |= factors.apply(family, new, move)
        for k, carrier in enumerate(rest):
            if family.kind is PARAMETER:
                places.append({} if carrier.symmetry.linear else {n: x.clone() for n, x in new.items()})
            carrier.move_(family.kind, new, places[k])
        for name in written & new.keys():
            for called, target, value in family.writes(name, new[name]):
                move.replace(called, target, value)
    return move


class _Factors:
    """The factors of every position for each power that is asked for, with the smallest and the largest among them."""

    def __init__(self, scalings: Scalings, s: Tensor):
        self._scalings, self._s = scalings, s
        self._known: dict[int, tuple[Sequence[Tensor], tuple[Tensor, Tensor]]] = {}

    def apply(self, family: States, new: dict[str, Tensor], move: Move) -> set[str]:
        """Scale the tensors of a family: those in `new` there, whose names are returned, the others in place."""
        parts, limits = self._of(family.kind.power)
        copied = set()
        for cells in self._scalings.cells:
            x = family.tensors.get(cells.name)
            if x is None:
                continue
            if cells.name not in new:
                move.scale(family.called(cells.name), x, cells.spread(parts), limits, family.bound)
                continue
            copied.add(cells.name)
            for factor in cells.spread(parts):
                new[cells.name] = new[cells.name] * factor.to(x.device)
        return copied

    def _of(self, power: int) -> tuple[Sequence[Tensor], tuple[Tensor, Tensor]]:
        if power not in self._known:
            positions = self._scalings.factors(self._s, power)
            self._known[power] = self._scalings.parts(positions), positions.aminmax()
        return self._known[power]


def _positive(symmetry: Symmetry, g: Tensor | None) -> Tensor | None:
    """The element if it multiplies by positive numbers only: a complex one with a phase also rotates."""
    if g is None or not isinstance(symmetry.group, ComplexScaling):
        return g
    return g if bool((g[..., 0] > 0).all() and (g[..., 1] == 0).all()) else None
