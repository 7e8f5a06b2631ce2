"""Elements from numbers: how a search over a group is a search over a vector."""

import torch
from torch import Tensor

from isoloss.groups import Group, Orthogonal


def rotation(angle: Tensor) -> Tensor:
    """Rotations of the plane by these angles, counter-clockwise: ``(*batch)`` to ``(*batch, 2, 2)``."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def element(group: Group, coordinates: Tensor) -> Tensor:
    r"""The element :math:`\exp(\sum_i c_i E_i)` with these coordinates in the basis of the Lie algebra.

    In the plane the coordinate is the angle, counter-clockwise, and the exponential is `rotation`: exact for angles
    of any size.

    Args:
        group: A matrix group of positive dimension.
        coordinates: ``(*batch, group.dim)``.

    Returns:
        Elements, ``(*batch, *group.element_shape)``.

    Raises:
        ValueError: If there are more or fewer coordinates than dimensions.
    """
    if coordinates.shape[-1] != group.dim:
        raise ValueError(
            f"element: {group.name} has {group.dim} coordinates; got {tuple(coordinates.shape)}. "
            "Put them on the last axis."
        )
    if group == Orthogonal(2):
        return rotation(coordinates[..., 0])
    basis = group.basis(dtype=coordinates.dtype, device=coordinates.device)
    return group.exp(torch.tensordot(coordinates, basis, 1))
