"""Moving on the orbit to where the conserved quantities have the values one wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor, nn

from isoloss._checks import is_whole
from isoloss.flow._balanceable import balanceable
from isoloss.flow._newton import Named, NotAttained, Wanted, newton
from isoloss.flow._quantities import ConservedQuantities, conserved_quantities, conserving
from isoloss.flow._quantity import Quantity, of_matrices
from isoloss.symmetry import Symmetries, named_tensors, write_atomically
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Balance
from isoloss.teleport.solvers import TransportedAscent

Target = float | Mapping[str, float | Tensor]


@dataclass(frozen=True)
class Balanced:
    """What `balance` did.

    Attributes:
        before: The conserved quantities before, by name, float64.
        after: Those it has reached.
        steps: Steps of Newton's method, after the closed forms.
        left: What was left as it was because it cannot be zero, by name, and why; empty if a target was given.
    """

    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    steps: int
    left: Mapping[str, str] = field(default_factory=dict)


def balance(
    model: nn.Module,
    symmetries: Symmetries,
    target: Target | None = None,
    *,
    steps: int = 60,
) -> Balanced:
    r"""Give the conserved quantities other values, without changing what the model computes.

    .. math:: \text{find } g \text{ with } Q(g \cdot \theta) = T

    For T = 0 that is the smallest point of the orbit, where every layer is balanced: the closed forms of
    `teleport.Balance` (scalings jointly, the geometric mean for GL) come first. Newton's method does the rest, and all
    of it for other targets. Its matrix is symmetric and semidefinite, whatever the symmetry:

    .. math:: \tfrac{d}{dt} Q_M(e^{tN} \theta) = 2 \langle M \theta, N \theta \rangle

    The work is done in float64 on copies. Then all is written at once, or on failure nothing.

    Args:
        model: To be moved in place.
        symmetries: As found in it.
        target: By the names of `conserved_quantities` a number, times the identity for matrices, or a tensor of the
            quantity's shape. Symmetries that are not named do not move, but their quantities may, by what they share
            with those that do. One number counts for all. By default zero for all that can be zero; what cannot is
            left and named in the report: the scale of a weight in front of a norm, a dead neuron or head, a pair of
            linear layers whose sides differ in rank.
        steps: At most so many of Newton's method.

    Returns:
        The quantities before and after, and what was left.

    Raises:
        ValueError: If there is no quantity, a name is unknown or a value does not fit, or a target that was given is
            not attained on the orbit: a dead neuron cannot be balanced, nor can a hidden layer whose sides differ in
            rank. By default, if nothing can be balanced.
    """
    if not is_whole(steps):
        raise ValueError(
            f"balance: steps must be a whole number of at least 0; got {steps!r}; 60 are the default."
        )
    symmetries = symmetries.bind(model)
    quantities = conserved_quantities(symmetries)
    # Quantities leave out the running statistics that a symmetry moves; the move must not.
    whole = {name: s for name, (s, _) in zip(quantities, conserving(symmetries)[0], strict=True)}
    targets = _targets(quantities, target)
    tensors = named_tensors(model)
    names = dict.fromkeys(n for name in targets for n in whole[name].parameters)
    here = {n: tensors[n].detach().double() for n in names}
    here |= {n: tensors[n].detach().double() for n in quantities.parameters if n not in here}
    before = quantities.evaluate(here)
    wanted = [Wanted(quantities[n], whole[n], t) for n, t in targets.items()]
    left: dict[str, str] = {}
    if target is None:
        wanted, left = _attainable(wanted, quantities, here)
    there, taken = _reached(here, wanted, steps, left if target is None else None)
    moved = dict.fromkeys(n for w in wanted for n in w.symmetry.parameters)
    write_atomically(((n, tensors[n], there[n]) for n in moved), where="balance")
    return Balanced(before, quantities.evaluate(there), taken, left)


def _attainable(
    wanted: list[Wanted], quantities: ConservedQuantities, here: Named
) -> tuple[list[Wanted], dict[str, str]]:
    """What may become zero, entry by entry where entries are apart; and the rest, with reasons."""
    left = {n: "it has one side only" for n, q in quantities.items() if not q.two_sided}
    kept = []
    for w in wanted:
        free, reason = balanceable(w.quantity, here)
        if reason:
            left[w.quantity.name] = reason
        if bool(free.any()):
            kept.append(w._replace(free=free))
    if not kept:
        raise ValueError(
            f"balance: some quantity must be one that can be zero; got {_listed(left)}; give a target."
        )
    return kept, left


def _reached(here: Named, wanted: list[Wanted], steps: int, left: dict[str, str] | None) -> tuple[Named, int]:
    """The point of the orbit; if what is out of reach may be left, that is taken out of `wanted` and put there."""
    while True:
        zero = all(bool((w.target == 0).all()) for w in wanted)
        failure = None
        for start in (_smallest, _unmoved) if zero else (_unmoved, _smallest):
            try:
                return newton(start(here, wanted), wanted, steps)
            except NotAttained as error:
                failure = failure or error
        assert failure is not None
        if left is None or len(wanted) == 1:
            raise ValueError(
                f"balance: the target must be attained on the orbit; got {failure}; nothing was changed; "
                "a dead neuron, or a side of lower rank than the other, cannot be balanced: choose another target, "
                "or leave that symmetry out with symmetries.where(...)."
            ) from failure
        left[failure.name] = str(failure).removeprefix(f"{failure.name}, which ")
        wanted[:] = [w for w in wanted if w.quantity.name != failure.name]


def _listed(left: Mapping[str, str]) -> str:
    some = [f"{name} ({reason})" for name, reason in left.items()]
    return "; ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


def _targets(quantities: ConservedQuantities, target: Target | None) -> Named:
    if target is None:
        target = {name: 0.0 for name, q in quantities.items() if q.two_sided}
    given = target if isinstance(target, Mapping) else dict.fromkeys(quantities, target)
    unknown = [n for n in given if n not in quantities]
    if unknown or not given:
        got = repr(unknown[0]) if unknown else "nothing"
        raise ValueError(
            f"balance: a target must be named like a conserved quantity; got {got}; "
            f"the names are {', '.join(list(quantities)[:4])}."
        )
    return {n: _target(quantities[n], t) for n, t in given.items()}


def _target(quantity: Quantity, value: float | Tensor) -> Tensor:
    group, shape = quantity.symmetry.group, quantity.shape
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.dim() == 0:
        rows = group.algebra_shape
        unit = torch.eye(*rows) if of_matrices(group) else group.symmetric(torch.ones(rows))
        value = value * unit.to(value).expand(shape)  # a number alone would take the dtype of the unit
    fits = value.shape == torch.Size(shape) and bool(value.isfinite().all())
    # Rounding of the caller's may leave the last digits unequal.
    if not fits or not torch.allclose(group.symmetric(value), value, rtol=1e-9, atol=1e-12):
        got = "inf or nan" if not bool(value.isfinite().all()) else f"shape {tuple(value.shape)}"
        raise ValueError(
            f"balance: a target must be finite, symmetric and of shape {shape} for {quantity.name}; "
            f"got {got}; start from quantities.evaluate(model)."
        )
    return group.symmetric(value)


def _unmoved(here: Named, wanted: Sequence[Wanted]) -> Named:
    return dict(here)


def _smallest(here: Named, wanted: Sequence[Wanted]) -> Named:
    """The smallest point of the orbit, up to the tolerance of the solver of `teleport.Balance`."""
    solver, moved = TransportedAscent(), dict(here)
    chosen = [w for w in wanted if solver.uses(w.symmetry)]
    used = [w.symmetry for w in chosen]
    if not used:
        return moved
    device = next(iter(here.values())).device
    scalings = Scalings(used, {n: tuple(t.shape) for n, t in here.items()}, device, torch.float64)
    point = Point(here, {}, dict.fromkeys(here, 1.0))
    try:
        found = solver.solve(Balance(), used, scalings, point, inf)
    except ValueError:  # no finite element: Newton's method will say what is wrong
        return moved
    # Scalings act first, in a teleport.
    order = [*scalings.members, *(i for i in range(len(used)) if i not in scalings.members)]
    elements = [_held(chosen[i], found.elements[i]) for i in order]
    return moved | Symmetries([used[i] for i in order]).act(elements, moved)


def _held(wanted: Wanted, element: Tensor | None) -> Tensor | None:
    """The element, and the identity where nothing is to move."""
    if wanted.free is None or element is None:
        return element
    group, batch = wanted.symmetry.group, wanted.symmetry.batch
    identity = group.identity(batch, dtype=element.dtype, device=element.device)
    return torch.where(wanted.free.to(element.device), element, identity)
