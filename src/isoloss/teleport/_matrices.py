"""Tensors moved in place by the matrices of one group element."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from isoloss.groups import ComplexScaling, GeneralLinear, Orthogonal
from isoloss.groups._matrix import inverse
from isoloss.symmetry import Slot, Symmetry


class Matrices:
    r"""The two matrices by which an element g moves blocks of charge 1 and -1, g and :math:`g^{-T}`.

    The inverse is formed once, in float64; every parameter, gradient and moment is then one product. That is as
    exact as solving for each of them, to eps * cond(g), for the small and well-conditioned g of a teleport.

    Args:
        symmetry: One of matrices, in the sense of `are_matrices`.
        g: Its element; a complex scaling is a matrix of the plane for every frequency.

    Raises:
        ValueError: If g is singular.
    """

    def __init__(self, symmetry: Symmetry, g: Tensor):
        self._symmetry = symmetry
        self._plane = isinstance(symmetry.group, ComplexScaling)
        if self._plane:
            re, im = g.unbind(-1)
            g = torch.stack([torch.stack([re, -im], -1), torch.stack([im, re], -1)], -2)
        same = isinstance(symmetry.group, Orthogonal)
        self._of_sign = {1: g, -1: g if same else inverse(g.double()).mT}

    def move_(
        self, tensors: Mapping[str, Tensor], power: float, entries: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Multiply the blocks in these tensors, where they lie.

        Args:
            tensors: Tensors by the name of the parameter; others than the symmetry's are left alone.
            power: 1 if they move like parameters, -1 if they move like gradients.
            entries: Applied to the entries of the matrices: squares move second moments.
        """
        for slot in self._symmetry.slots:
            if isinstance(slot, Slot) and slot.parameter in tensors:
                matrix = self._of_sign[1 if slot.charge * power > 0 else -1]
                rows = self._rows(slot, tensors[slot.parameter])
                matrix = (matrix if entries is None else entries(matrix)).to(rows)
                batch = matrix.dim() - 2
                flat = rows.reshape(*rows.shape[:batch], -1, rows.shape[-1])
                rows.copy_((flat @ matrix.mT).view(rows.shape))

    def _rows(self, slot: Slot, x: Tensor) -> Tensor:
        """The block as a view of dimensions (batch, rest, own)."""
        view = slot.block.view(x)
        batch, own = slot.dims[: len(self._symmetry.batch)], slot.dims[len(self._symmetry.batch) :]
        if self._plane:
            batch, own = (*batch, own[1]), own[:1]
        rest = [d for d in range(view.dim()) if d not in slot.dims]
        return view.permute(*batch, *rest, *own)


def are_matrices(symmetry: Symmetry) -> bool:
    """Does it multiply vectors by matrices, and read no other parameter?"""
    if not symmetry.linear or not isinstance(symmetry.group, GeneralLinear | Orthogonal | ComplexScaling):
        return False
    slots = [slot for slot in symmetry.slots if isinstance(slot, Slot)]
    return len(slots) == len(symmetry.slots) and all(abs(slot.charge) == 1 for slot in slots)
