"""Newton's method for the point of an orbit where conserved quantities have given values."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from isoloss.flow._quantities import ConservedQuantities
from isoloss.flow._quantity import Quantity, of_matrices
from isoloss.symmetry import Slot, Symmetries, Symmetry

Named = dict[str, Tensor]

EPS = torch.finfo(torch.float64).eps
# Where a target is a limit at infinity, every step of Newton's method has length 1/2, and the distance left after a
# length of 12 is exp(-24): far above rounding, so that the two cannot be confused.
FARTHEST = 12.0


class NotAttained(ArithmeticError):
    """Says where Newton's method got stuck: the quantity that is farthest from its target, and how far."""

    def __init__(self, name: str, how: str):
        super().__init__(f"{name}, which {how}")
        self.name = name


class Wanted(NamedTuple):
    """A quantity, the symmetry that moves it, its target, and which entries are to reach it: all if free is None."""

    quantity: Quantity
    symmetry: Symmetry
    target: Tensor
    free: Tensor | None = None


def newton(here: Named, wanted: Sequence[Wanted], steps: int) -> tuple[Named, int]:
    """Newton's method for Q(g . here) = T, with steps that are taken back until the distance shrinks.

    Args:
        here: Parameters and buffers in float64.
        wanted: The quantities, and where they are to go.
        steps: At most so many.

    Returns:
        The point found, and the number of steps.

    Raises:
        NotAttained: If there is none within reach.
    """
    system = _System(wanted)
    whole = Symmetries([w.symmetry for w in wanted])
    gap, size = system.gap(here)
    length = 0.0
    for step in range(steps):
        a = system.solved(here, gap)
        longest = max(_length(w.quantity, p) for w, p in zip(wanted, a, strict=True))
        if not longest < inf:
            break
        shrink = min(1.0, 1.0 / longest) if longest else 1.0
        while True:
            elements = [w.symmetry.group.exp(shrink * p) for w, p in zip(wanted, a, strict=True)]
            there = here | whole.act(elements, here)
            new, _ = system.gap(there)
            if _norm(new) < _norm(gap) or shrink < 1e-6:
                break
            shrink /= 2
        better = _norm(new) < _norm(gap)
        if better:
            here, gap, length = there, new, length + shrink * longest
        # A step of this length leaves a gap of its square times the size: the rounding of sums. Where a matrix has
        # directions of little weight rounding asks for longer steps, which help little or not at all.
        settled = longest <= sqrt(EPS) and _norm(gap) <= sqrt(EPS) * size
        rounding = _norm(gap) <= 1e3 * EPS * size and not (better and longest <= 1e-3)
        if settled or rounding:
            return here, step
        if not better or length > FARTHEST:
            break
    raise system.missed(here, gap, length)


class _System:
    """The equations Q = T, and their derivative along the algebra."""

    def __init__(self, wanted: Sequence[Wanted]):
        self._quantities = quantities = [w.quantity for w in wanted]
        self._free = [w.free for w in wanted]
        self._together = ConservedQuantities(quantities)
        # The gradient of <theta, M theta> + 2 <v, theta> is twice the generator; the quantity has <v, theta>.
        self._twice = [1.0 + q.translations.double() for q in quantities]
        self._targets = [w.target for w in wanted]
        self._sizes = [prod(q.shape) for q in quantities]

    def gap(self, tensors: Named) -> tuple[list[Tensor], float]:
        """T - Q, and the size of the terms of Q."""
        found = self._together.measured(tensors)
        size = sum(float(s) for _, s in found.values())
        values = [found[q.name][0] for q in self._quantities]
        pairs = zip(self._targets, values, self._twice, strict=True)
        return self._masked([(t.to(v) - v) * k.to(v) for t, v, k in pairs]), size

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

    def missed(self, tensors: Named, gap: list[Tensor], length: float) -> NotAttained:
        """The quantity that is farthest from its target."""
        found = self._together.measured(tensors)
        far = [
            float(g.norm()) / max(float(found[q.name][1]), 1e-300)
            for q, g in zip(self._quantities, gap, strict=True)
        ]
        worst = max(range(len(far)), key=far.__getitem__)
        name = self._quantities[worst].name
        if length > FARTHEST:
            return NotAttained(name, f"approaches it only as factors go beyond exp({FARTHEST:.0f})")
        return NotAttained(name, f"stays {far[worst]:.2g} of its size away from it")

    def _product(self, tensors: Named, flat: Tensor) -> Tensor:
        moved: Named = {}
        for q, a in zip(self._quantities, self._parts(flat), strict=True):
            for n, v in q.symmetry.generator(a, tensors).items():
                moved[n] = moved[n] + v if n in moved else v
        parts = []
        for q in self._quantities:
            inside = {n: moved[n] for n in q.parameters}
            parts.append(2 * q.symmetry.group.symmetric(q.symmetry.moment(inside, tensors)))
        return self._flat(self._masked(parts))

    def _masked(self, parts: list[Tensor]) -> list[Tensor]:
        """Zero where nothing is wanted: conjugate gradients then never leave the entries that are free."""
        pairs = zip(parts, self._free, strict=True)
        return [p if free is None else p * free.to(p) for p, free in pairs]

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
    if of_matrices(symmetry.group):
        d = both.diagonal(dim1=-2, dim2=-1)
        both = d.unsqueeze(-1) + d.unsqueeze(-2)
    else:
        both = 2 * both
    floor = both.amax().clamp_min(torch.finfo(both.dtype).tiny) * 1e-12
    return both.clamp_min(floor)


def _length(quantity: Quantity, a: Tensor) -> float:
    # What translates has a unit, and goes as far as it must.
    linear = a * (~quantity.translations).to(a)
    return float(quantity.symmetry.group.norm(linear).amax())


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.stack([p.norm() for p in parts]).norm())
