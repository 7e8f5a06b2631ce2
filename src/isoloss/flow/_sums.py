"""The conserved quantities of a whole model at once, for the price of reading its weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isoloss.flow._quantity import Quantity
from isoloss.groups import ComplexScaling, GeneralLinear
from isoloss.symmetry import Shift
from isoloss.teleport._matrices import are_matrices
from isoloss.teleport._pair import Pair
from isoloss.teleport._posynomial import Posynomial
from isoloss.teleport._quadratic import Quadratic, widen
from isoloss.teleport._scalings import Scalings


class Sums:
    r"""Every quantity together with its *size*, the sum of the absolute values of its terms.

    A quantity is a difference of sums of squares, P - N, and its size the trace of P + N. For all scalings the two
    are the sides of one posynomial (`teleport.Balance` lowers it), for GL they are Gram matrices; for translations,
    and what else there may be, the moment is taken one by one. Of a translation the size is the sum of the absolute
    values that it adds up.

    Args:
        quantities: What to evaluate.
        tensors: Any values of the parameters, for shapes, dtype and device.
    """

    def __init__(self, quantities: Sequence[Quantity], tensors: Mapping[str, Tensor]):
        self._quantities = quantities
        names = dict.fromkeys(n for q in quantities for n in q.parameters)
        wide = any(tensors[n].dtype == torch.float64 for n in names)
        self._scalings = Scalings(
            [q.symmetry for q in quantities],
            {n: tuple(tensors[n].shape) for n in names},
            next(tensors[n].device for n in names),
            torch.float64 if wide else torch.float32,
        )
        self._weights: dict[str, float] = {}
        for q in quantities:
            self._weights |= q.weights

    @torch.no_grad()
    def __call__(self, tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Value and size of every quantity."""
        values = self._pairs(tensors)
        form = Quadratic(tensors, 1, self._weights)
        sizes = [
            _size(q, form) if s is None else s for q, (_, s) in zip(self._quantities, values, strict=True)
        ]
        return [(value, size) for (value, _), size in zip(values, sizes, strict=True)]

    @torch.no_grad()
    def values(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The values alone, without the sums of absolute values that only the start needs."""
        return [value for value, _ in self._pairs(tensors)]

    def _pairs(self, tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """Values, and the sizes that come with them."""
        form = Quadratic(tensors, 1, self._weights)
        sides = Posynomial(self._scalings, form).sides if self._scalings.members else ()
        known = dict(zip(self._scalings.members, self._split(sides), strict=True)) if sides else {}
        return [known.get(i) or _alone(q, form) for i, q in enumerate(self._quantities)]

    def _split(self, sides: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        grow, shrink = sides
        value, size = grow - shrink, grow + shrink
        found, start = [], 0
        for i in self._scalings.members:
            q = self._quantities[i]
            count = q.count
            part = value[start : start + count].reshape(*q.symmetry.batch, q.symmetry.group.n)
            if isinstance(q.symmetry.group, ComplexScaling):  # no phase is conserved
                part = torch.stack([part, torch.zeros_like(part)], -1)
            found.append((part, size[start : start + count].sum()))
            start += count
        return found


def _alone(quantity: Quantity, form: Quadratic) -> tuple[Tensor, Tensor | None]:
    symmetry = quantity.symmetry
    if isinstance(symmetry.group, GeneralLinear) and are_matrices(symmetry):
        tensors = {n: form.tensors[n] for n in symmetry.parameters}
        pair = Pair.of(symmetry, Quadratic(tensors, 1, form.weights))
        return pair.grow - pair.shrink, pair.here
    if all(isinstance(slot, Shift) and not slot.operands for slot in symmetry.slots):
        return _summed(quantity, form), None
    return quantity.value(form.tensors), None


def _summed(quantity: Quantity, form: Quadratic) -> Tensor:
    """The number of a translation that shifts plain blocks: their sums along what it is spread over."""
    total: float | Tensor = 0.0
    for slot in quantity.symmetry.slots:
        assert isinstance(slot, Shift)
        index, letters = slot.equation.split("->")
        x = widen(slot.block.view(form.tensors[slot.parameter].detach()))
        kept = [letters.index(c) for c in index if c in letters]
        rest = [d for d in range(x.dim()) if d not in kept]
        x = (x.sum(rest) if rest else x).permute([sorted(kept).index(d) for d in kept])
        total = total + float(slot.coefficient) * form.weight(slot.parameter) * x.reshape(quantity.shape)
    assert isinstance(total, Tensor)
    return total


def _size(quantity: Quantity, form: Quadratic) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for slot in quantity.symmetry.slots:
        x = slot.block.view(form.tensors[slot.parameter].detach()).double()
        factor = slot.coefficient if isinstance(slot, Shift) else slot.charge
        terms = x.abs() if bool(quantity.translations.all()) else x.square()
        total = total + abs(float(factor)) * form.weight(slot.parameter) * terms.sum().to(total.device)
    return total
