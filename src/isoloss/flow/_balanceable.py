"""Which conserved quantities can be zero somewhere on the orbit."""

from dataclasses import replace

import torch
from torch import Tensor

from isoloss.flow._quantity import Quantity, of_matrices
from isoloss.symmetry import Slot
from isoloss.symmetry._symmetry import Tensors

# A Gram matrix is known to eps times its size, hence its range to the directions of the weights above sqrt(eps).
TURNED = torch.finfo(torch.float64).eps ** 0.5


def balanceable(quantity: Quantity, tensors: Tensors) -> tuple[Tensor, str]:
    r"""The entries of a quantity that can be zero, as a mask of its shape, and what is wrong with the others.

    A neuron with one side zero and the other not keeps its sign. For matrices P' = N' needs

    .. math:: \operatorname{rank} P = \operatorname{rank} N = \operatorname{rank} P N,

    because :math:`P' N' = g P N g^{-1}` is then the square of a symmetric matrix. No move of a neighbouring layer
    changes these ranks. Translations can always be undone.

    Args:
        quantity: With slots of both charges.
        tensors: Its parameters in float64.
    """
    if bool(quantity.translations.any()):
        return torch.ones(quantity.shape, dtype=torch.bool), ""
    grow, shrink = _side(quantity, tensors, 1), _side(quantity, tensors, -1)
    if not of_matrices(quantity.symmetry.group):
        free = (grow > 0) == (shrink > 0)
        dead = int((~free).sum())
        return free, f"{dead} of {free.numel()} entries have one side that is zero" if dead else ""
    pairs = (
        zip(grow.flatten(0, -3), shrink.flatten(0, -3), strict=True) if grow.dim() > 2 else [(grow, shrink)]
    )
    reasons = [_mismatch(_range(p), _range(n)) for p, n in pairs]
    good = torch.tensor([not reason for reason in reasons]).reshape(*grow.shape[:-2], 1, 1)
    return good.expand(quantity.shape), next(filter(None, reasons), "")


def _mismatch(p: Tensor, n: Tensor) -> str:
    both = int((torch.linalg.svdvals(p.T @ n) > TURNED).sum())
    if p.shape == n.shape and both == p.shape[1]:
        return ""
    return f"its sides have ranks {p.shape[1]} and {n.shape[1]}, their product {both}"


def _side(quantity: Quantity, tensors: Tensors, sign: int) -> Tensor:
    """The sum of squares, or the Gram matrix, of what moves with charges of one sign."""
    chosen = [
        replace(s, charge=abs(s.charge))
        for s in quantity.symmetry.slots
        if isinstance(s, Slot) and s.charge * sign > 0
    ]
    symmetry = replace(quantity.symmetry, slots=tuple(chosen))
    return symmetry.group.symmetric(symmetry.moment(tensors, tensors)).cpu()


def _range(gram: Tensor) -> Tensor:
    """An orthonormal basis of the range of a Gram matrix, as columns."""
    values, vectors = torch.linalg.eigh(gram)
    floor = len(gram) * torch.finfo(gram.dtype).eps * values[-1].clamp_min(torch.finfo(gram.dtype).tiny)
    return vectors[:, values > floor]
