"""One conserved quantity: what a symmetry keeps constant along gradient flow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from isoloss.groups import Group
from isoloss.symmetry import Slot, Symmetry

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Quantity:
    r"""The conserved quantities of one symmetry, all of them as one element of its algebra.

    .. math:: \langle Q(\theta), M \rangle = \langle \varepsilon^{-1} \theta,\; M \cdot \theta \rangle
        \quad \text{for every symmetric generator } M

    Every entry is constant along :math:`\dot\theta = -\varepsilon \nabla L`. A pair of linear layers has the matrix
    :math:`W_1 W_1^T + b_1 b_1^T - W_2^T W_2`, a neuron with charges :math:`c_p` the number
    :math:`\sum_p c_p \lVert w_p \rVert^2`, a translation along v the number :math:`\langle v, \theta \rangle`.

    Attributes:
        name: Where it lives, in words, such as "GL(64) between 0.weight and 2.weight".
        symmetry: What it comes from, with the slots on parameters that move.
        weights: :math:`\varepsilon^{-1}` by parameter, 1 where there is none.

    References:
        Dissertation, Proposition 2.5.1, Examples 2.5.2 to 2.5.4, section A.2.9. The translations are ours.
    """

    name: str
    symmetry: Symmetry
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its value: (*batch, *algebra_shape)."""
        return (*self.symmetry.batch, *self.symmetry.group.algebra_shape)

    @property
    def count(self) -> int:
        """Number of independent numbers in it: h (h + 1) / 2 for GL(h)."""
        return prod(self.symmetry.batch) * self.symmetry.group.symmetric_dim

    @property
    def exact(self) -> bool:
        """Is it constant along the flow, rather than up to the eps of a norm?"""
        return self.symmetry.exact

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it is made of."""
        return self.symmetry.parameters

    def value(self, tensors: Tensors) -> Tensor:
        """The quantity, shape `shape`, in float32 at least.

        Args:
            tensors: Named tensors, at least `parameters`.
        """
        here = {n: self.weights.get(n, 1.0) * tensors[n].detach() for n in self.parameters}
        return self.symmetry.group.symmetric(self.symmetry.moment(here, tensors))

    def quadratic(self, tensors: Tensors) -> Tensor:
        """The part of `value` that is quadratic; translations have none."""
        value = self.value(tensors)
        return value * (~self.translations).to(value)

    @property
    def two_sided(self) -> bool:
        """Can it be zero? What scales a weight in front of a norm leaves its square, and has one side only."""
        charges = [slot.charge for slot in self.symmetry.slots if isinstance(slot, Slot)]
        both = any(c > 0 for c in charges) and any(c < 0 for c in charges)
        return both or bool(self.translations.all())

    @cached_property
    def translations(self) -> Tensor:
        """Which entries of an algebra element translate: a mask of shape algebra_shape."""
        return translating(self.symmetry.group)

    @cached_property
    def charge(self) -> float:
        """The largest sum of absolute charges over the slots that meet in one entry: the norm of the generators."""
        shapes = {slot.parameter: _extent(slot, self.symmetry) for slot in self.symmetry.slots}
        counts = {n: torch.zeros(s) for n, s in shapes.items()}
        for slot in self.symmetry.slots:
            if isinstance(slot, Slot):
                slot.block.view(counts[slot.parameter]).add_(abs(float(slot.charge)))
        return max((float(c.max()) for c in counts.values()), default=0.0)

    def __repr__(self) -> str:
        return f"Quantity({self.name}, shape {self.shape}, {self.count} numbers)"


def of_matrices(group: Group) -> bool:
    """Are algebra elements matrices, rather than numbers one by one?"""
    return len(group.algebra_shape) == 2 and group.own == 1


def translating(group: Group) -> Tensor:
    """The entries of an algebra element that move the origin."""
    a = torch.zeros(group.algebra_shape, requires_grad=True)
    origin = torch.zeros((2,) * (group.own - 1) + (group.n,))
    with torch.enable_grad():
        (found,) = torch.autograd.grad(group.velocity(a, origin).sum(), a)
    return found != 0


def _extent(slot, symmetry: Symmetry) -> tuple[int, ...]:
    # The smallest shape that holds all blocks of the parameter.
    blocks = [s.block for s in symmetry.slots if s.parameter == slot.parameter]
    ends = [
        [
            b.start[axis] + 1 + sum((size - 1) * step for size, step in b.factors[axis])
            for axis in range(len(b.start))
        ]
        for b in blocks
    ]
    return tuple(max(column) for column in zip(*ends, strict=True))


def named(symmetry: Symmetry) -> str:
    """A symmetry in words: the group, and the parameters that grow and shrink under it."""
    slots = [s for s in symmetry.slots if isinstance(s, Slot)]
    grow = dict.fromkeys(s.parameter for s in slots if s.charge > 0)
    shrink = dict.fromkeys(s.parameter for s in slots if s.charge < 0)
    if grow and shrink:
        return f"{symmetry.name} between {_first(grow)} and {_first(shrink)}"
    return f"{symmetry.name} on {_first(dict.fromkeys(symmetry.parameters))}"


def distinct_names(symmetries: Sequence[Symmetry]) -> list[str]:
    """The same for several, numbered where two are alike."""
    names, seen = [named(s) for s in symmetries], Counter()
    total, distinct = Counter(names), []
    for name in names:
        seen[name] += 1
        distinct.append(f"{name} [{seen[name]}]" if total[name] > 1 else name)
    return distinct


def _first(names: dict[str, None]) -> str:
    # A bias goes where its weight goes.
    weights = [n for n in names if not n.endswith("bias")] or list(names)
    return weights[0] + (f" (and {len(weights) - 1} more)" if len(weights) > 1 else "")
