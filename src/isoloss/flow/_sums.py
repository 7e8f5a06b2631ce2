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
from isoloss.teleport._quadratic import Quadratic
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
        form = Quadratic(tensors, 1, self._weights)
        sides = Posynomial(self._scalings, form).sides if self._scalings.members else ()
        known = dict(zip(self._scalings.members, self._split(sides), strict=True)) if sides else {}
        return [known.get(i) or _alone(q, form) for i, q in enumerate(self._quantities)]

    def _split(self, sides: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
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


def _alone(quantity: Quantity, form: Quadratic) -> tuple[Tensor, Tensor]:
    symmetry = quantity.symmetry
    if isinstance(symmetry.group, GeneralLinear) and are_matrices(symmetry):
        tensors = {n: form.tensors[n] for n in symmetry.parameters}
        pair = Pair.of(symmetry, Quadratic(tensors, 1, form.weights))
        return pair.grow - pair.shrink, pair.here
    return quantity.value(form.tensors), _size(quantity, form)


def _size(quantity: Quantity, form: Quadratic) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for slot in quantity.symmetry.slots:
        x = slot.block.view(form.tensors[slot.parameter].detach()).double()
        factor = slot.coefficient if isinstance(slot, Shift) else slot.charge
        terms = x.abs() if bool(quantity.translations.all()) else x.square()
        total = total + abs(float(factor)) * form.weight(slot.parameter) * terms.sum().to(total.device)
    return total
