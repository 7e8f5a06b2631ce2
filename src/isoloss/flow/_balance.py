"""Moving on the orbit to where the conserved quantities have the values one wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod, sqrt

import torch
from torch import Tensor, nn

from isoloss.flow._quantities import ConservedQuantities, conserved_quantities, conserving
from isoloss.flow._quantity import Quantity
from isoloss.symmetry import Slot, Symmetries, Symmetry, named_tensors, write_atomically
from isoloss.teleport._point import Point
from isoloss.teleport._scalings import Scalings
from isoloss.teleport.objectives import Balance
from isoloss.teleport.solvers import TransportedAscent

Named = dict[str, Tensor]
Target = float | Mapping[str, float | Tensor]

EPS = torch.finfo(torch.float64).eps
# Where a target is a limit at infinity, every step of Newton's method has length 1/2, and the distance left after a
# length of 12 is exp(-24): far above rounding, so that the two cannot be confused.
FARTHEST = 12.0


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
            there, taken = _newton(start(here, [s for _, s, _ in chosen]), chosen, steps)
            break
        except _NotAttained as error:
            failure = failure or error
    else:
        raise ValueError(
            f"balance: the target must be attained on the orbit; got {failure}; nothing was changed; "
            "a dead neuron, or a side of lower rank than the other, cannot be balanced: choose another target, or "
            "leave that symmetry out with symmetries.where(...)."
        ) from failure
    write_atomically(((n, tensors[n], there[n]) for n in names), where="balance")
    return Balanced(before, quantities.evaluate(there), taken)


class _NotAttained(ArithmeticError):
    """Says where Newton's method got stuck."""


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
        unit = torch.zeros(group.algebra_shape, dtype=torch.float64)
        if len(group.algebra_shape) == 2 and group.own == 1:
            unit.diagonal().fill_(1.0)
        elif group.own == 1:
            unit.fill_(1.0)
        else:
            unit[..., 0] = 1.0
        value = value * unit.expand(shape)
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


def _newton(
    here: Named, chosen: Sequence[tuple[Quantity, Symmetry, Tensor]], steps: int
) -> tuple[Named, int]:
    r"""Newton's method for Q(g . here) = T, with steps that are taken back until the distance shrinks."""
    system = _System([q for q, *_ in chosen], [t for *_, t in chosen])
    whole = Symmetries([s for _, s, _ in chosen])
    gap, size = system.gap(here)
    length = 0.0
    for step in range(steps):
        a = system.solved(here, gap)
        longest = max(float(q.symmetry.group.norm(p).amax()) for (q, *_), p in zip(chosen, a, strict=True))
        if not longest < inf:
            break
        shrink = min(1.0, 1.0 / longest) if longest else 1.0
        while True:
            elements = [q.symmetry.group.exp(shrink * p) for (q, *_), p in zip(chosen, a, strict=True)]
            there = here | whole.act(elements, here)
            new, _ = system.gap(there)
            if _norm(new) < _norm(gap) or shrink < 1e-6:
                break
            shrink /= 2
        better = _norm(new) < _norm(gap)
        if better:
            here, gap, length = there, new, length + shrink * longest
        # A step of this length leaves a gap of its square times the size: the rounding of sums.
        if longest <= sqrt(EPS) and _norm(gap) <= sqrt(EPS) * size:
            return here, step
        if not better or length > FARTHEST:
            break
    raise _NotAttained(system.describe(here, gap, length))


class _System:
    """The equations Q = T, and their derivative along the algebra."""

    def __init__(self, quantities: Sequence[Quantity], targets: Sequence[Tensor]):
        self._quantities = quantities
        self._together = ConservedQuantities(quantities)
        # The gradient of <theta, M theta> + 2 <v, theta> is twice the generator; the quantity has <v, theta>.
        self._twice = [1.0 + q.translations.double() for q in quantities]
        self._targets = targets
        self._sizes = [prod(q.shape) for q in quantities]

    def gap(self, tensors: Named) -> tuple[list[Tensor], float]:
        """T - Q, and the size of the terms of Q."""
        found = self._together.measured(tensors)
        size = sum(float(s) for _, s in found.values())
        values = [found[q.name][0] for q in self._quantities]
        pairs = zip(self._targets, values, self._twice, strict=True)
        return [(t.to(v) - v) * k.to(v) for t, v, k in pairs], size

    def solved(self, tensors: Named, gap: list[Tensor]) -> list[Tensor]:
        """The algebra elements that close the gap to first order, by conjugate gradients."""
        b = self._flat(gap)
        scale = self._flat(self._diagonal(tensors))
        x, r = torch.zeros_like(b), b.clone()
        z = r / scale
        p, rz = z.clone(), torch.dot(r, z)
        for _ in range(max(50, 2 * len(b)) if len(b) < 500 else 1000):
            if not rz > 1e-28 * torch.dot(b, b / scale):
                break
            ap = self._product(tensors, p)
            curvature = torch.dot(p, ap)
            if not curvature > 0:  # a direction in which nothing moves
                break
            alpha = rz / curvature
            x, r = x + alpha * p, r - alpha * ap
            z = r / scale
            rz, previous = torch.dot(r, z), rz
            p = z + rz / previous * p
        return self._parts(x)

    def describe(self, tensors: Named, gap: list[Tensor], length: float) -> str:
        """The quantity that is farthest from its target."""
        found = self._together.measured(tensors)
        far = [
            float(g.norm()) / max(float(found[q.name][1]), 1e-300)
            for q, g in zip(self._quantities, gap, strict=True)
        ]
        worst = max(range(len(far)), key=far.__getitem__)
        name = self._quantities[worst].name
        if length > FARTHEST:
            return f"{name}, which approaches it only as factors go beyond exp({FARTHEST:.0f})"
        return f"{name}, which stays {far[worst]:.2g} of its size away from it"

    def _product(self, tensors: Named, flat: Tensor) -> Tensor:
        moved: Named = {}
        for q, a in zip(self._quantities, self._parts(flat), strict=True):
            for n, v in q.symmetry.generator(a, tensors).items():
                moved[n] = moved[n] + v if n in moved else v
        parts = []
        for q in self._quantities:
            inside = {n: moved[n] for n in q.parameters}
            parts.append(2 * q.symmetry.group.symmetric(q.symmetry.moment(inside, tensors)))
        return self._flat(parts)

    def _diagonal(self, tensors: Named) -> list[Tensor]:
        """About the diagonal of the derivative: sums of squares on both sides, for a preconditioner."""
        return [_sides(q, tensors) for q in self._quantities]

    def _flat(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([p.reshape(-1) for p in parts])

    def _parts(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split(self._sizes)
        return [p.reshape(q.shape) for q, p in zip(self._quantities, pieces, strict=True)]


def _sides(quantity: Quantity, tensors: Named) -> Tensor:
    symmetry = quantity.symmetry
    first = tensors[quantity.parameters[0]]
    if bool(quantity.translations.any()):
        return torch.ones(quantity.shape, dtype=first.dtype, device=first.device)
    slots = [replace(s, charge=abs(s.charge)) for s in symmetry.slots if isinstance(s, Slot)]
    both = replace(symmetry, slots=tuple(slots)).moment(tensors, tensors)
    if len(symmetry.group.algebra_shape) == 2 and symmetry.group.own == 1:
        d = both.diagonal(dim1=-2, dim2=-1)
        both = d.unsqueeze(-1) + d.unsqueeze(-2)
    else:
        both = 2 * both
    floor = both.amax().clamp_min(torch.finfo(both.dtype).tiny) * 1e-12
    return both.clamp_min(floor)


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.stack([p.norm() for p in parts]).norm())
