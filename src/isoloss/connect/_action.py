"""A symmetry's one-parameter subgroups, in a form that can be differentiated twice."""

from dataclasses import replace

from torch import Tensor

from isoloss.groups import Affine, GeneralLinear
from isoloss.symmetry import Slot, Symmetry


def flow(symmetry: Symmetry, algebra: Tensor, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    r"""The tensors that :math:`\exp(t M)` moves, as new tensors.

    .. math:: g^{-T} = \exp(-t M^T)

    The contragredient is an exponential of its own: a solve would do for the values, but torch (2.13) differentiates
    nested forward rules through it wrongly.

    Args:
        symmetry: What acts.
        algebra: M, shape (*batch, *group.algebra_shape).
        t: The time, of no dimension.
        tensors: All parameters by name.
    """
    group = symmetry.group
    if not isinstance(group, GeneralLinear | Affine):
        return symmetry.act(group.exp(t * algebra), tensors)
    points = tuple(s for s in symmetry.slots if not isinstance(s, Slot) or s.charge > 0)
    covectors = tuple(
        replace(s, charge=-s.charge) for s in symmetry.slots if isinstance(s, Slot) and s.charge < 0
    )
    moved: dict[str, Tensor] = {}
    if points:
        moved |= replace(symmetry, slots=points).act(group.exp(t * algebra), tensors)
    if covectors:
        linear = algebra[..., :-1] if isinstance(group, Affine) else algebra
        matrices = GeneralLinear(group.n)
        dual = replace(symmetry, group=matrices, slots=covectors)
        moved |= dual.act(matrices.exp(-t * linear.mT), tensors | moved)
    return moved
