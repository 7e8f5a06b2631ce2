"""Moving on the orbit to where the conserved quantities have the values one wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from isoloss.flow._newton import Named, NotAttained, newton
from isoloss.flow._quantities import ConservedQuantities, conserved_quantities, conserving
from isoloss.flow._quantity import Quantity, of_matrices
from isoloss.symmetry import Symmetries, Symmetry, named_tensors, write_atomically
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
    """

    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    steps: int


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
            with those that do. One number counts for all. By default zero for all that can be zero: the scale of a
            weight in front of a norm cannot.
        steps: At most so many of Newton's method.

    Returns:
        The quantities before and after.

    Raises:
        ValueError: If there is no quantity, a name is unknown or a value does not fit, or the target is not attained
            on the orbit: a dead neuron cannot be balanced, nor can a hidden layer whose sides differ in rank.
    """
    symmetries = symmetries.bind(model)
    quantities = conserved_quantities(symmetries)
    # Quantities leave out the running statistics that a symmetry moves; the move must not.
    whole = {name: s for name, (s, _) in zip(quantities, conserving(symmetries)[0], strict=True)}
    targets = _targets(quantities, target)
    chosen = [(quantities[n], whole[n], t) for n, t in targets.items()]
    tensors = named_tensors(model)
    names = dict.fromkeys(n for _, s, _ in chosen for n in s.parameters)
    here = {n: tensors[n].detach().double() for n in names}
    here |= {n: tensors[n].detach().double() for n in quantities.parameters if n not in here}
    before = quantities.evaluate(here)
    zero = all(bool((t == 0).all()) for t in targets.values())
    starts = (_smallest, _unmoved) if zero else (_unmoved, _smallest)
    failure = None
    for start in starts:
        try:
            there, taken = newton(start(here, [s for _, s, _ in chosen]), chosen, steps)
            break
        except NotAttained as error:
            failure = failure or error
    else:
        raise ValueError(
            f"balance: the target must be attained on the orbit; got {failure}; nothing was changed; "
            "a dead neuron, or a side of lower rank than the other, cannot be balanced: choose another target, or "
            "leave that symmetry out with symmetries.where(...)."
        ) from failure
    write_atomically(((n, tensors[n], there[n]) for n in names), where="balance")
    return Balanced(before, quantities.evaluate(there), taken)


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
        raise ValueError(
            f"balance: a target must be finite, symmetric and of shape {shape} for {quantity.name}; "
            f"got shape {tuple(value.shape)}; start from quantities.evaluate(model)."
        )
    return group.symmetric(value)


def _unmoved(here: Named, symmetries: Sequence[Symmetry]) -> Named:
    return dict(here)


def _smallest(here: Named, symmetries: Sequence[Symmetry]) -> Named:
    """The smallest point of the orbit, up to the tolerance of the solver of `teleport.Balance`."""
    solver, moved = TransportedAscent(), dict(here)
    used = [s for s in symmetries if solver.uses(s)]
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
    return moved | Symmetries([used[i] for i in order]).act([found.elements[i] for i in order], moved)
