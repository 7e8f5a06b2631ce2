"""The law that every symmetry imposes on the velocity of the flow; for rotations, of angular momentum."""

from collections.abc import Mapping

import torch
from torch import Tensor

from isoloss.flow._quantity import distinct_names, of_matrices
from isoloss.flow._trajectory import Trajectory
from isoloss.symmetry import Symmetries, Symmetry

Tensors = Mapping[str, Tensor]


def angular_momentum(symmetry: Symmetry, velocities: Tensors, tensors: Tensors) -> Tensor:
    r"""The angular momenta of a motion in all planes that the symmetry rotates; zero along gradient flow.

    .. math:: J = V \dot V^T - \dot V V^T + U^T \dot U - \dot U^T U \qquad \text{for } g \cdot (U, V) = (U g^T, g V)

    The entry (k, l) is the sum of :math:`r^2 \dot\varphi` over all pairs of coordinates that g turns in that plane.
    Under an antisymmetric generator there is no conserved quantity, but this law. For :math:`\mathbb{C}^*` the second
    entry of every frequency is :math:`\sum \lvert z \rvert^2 \dot\varphi`.

    Args:
        symmetry: With antisymmetric generators: O(n), GL(n), complex scalings.
        velocities: :math:`\varepsilon^{-1} \dot\theta` by name; names that are absent count as zero.
        tensors: The parameters.

    Returns:
        Shape (*batch, *algebra_shape).

    Raises:
        ValueError: If the group has no antisymmetric generators.

    References:
        Dissertation, Theorem 2.5.6 and Eq. (2.13).
    """
    group = symmetry.group
    if group.dim == group.symmetric_dim:
        raise ValueError(
            f"angular_momentum: the group must contain rotations; got {group.name}; "
            "its law is a conserved quantity: see conserved_quantities."
        )
    found = symmetry.moment(velocities, tensors)
    turning = found - group.symmetric(found)
    # A generator E_kl - E_lk turns from l to k, and holds the same number twice.
    return -2 * turning if of_matrices(group) else turning


def residual(symmetries: Symmetries, trajectory: Trajectory) -> dict[str, Tensor]:
    r"""How far the velocities along a trajectory are from being orthogonal to the orbits; zero for a symmetry.

    .. math:: \max_{\lVert M \rVert = 1} \langle \varepsilon^{-1} \dot\theta, M \cdot \theta \rangle
        \,/\, (\lVert \varepsilon^{-1} \dot\theta \rVert\, \lVert \theta \rVert)

    This holds for every generator of every symmetry, antisymmetric ones and actions that are not linear included.

    Args:
        symmetries: Those with continuous groups are used. All that they move must be in the trajectory: one that
            also moves a frozen parameter imposes no law on the others.
        trajectory: From `gradient_flow` or `gradient_descent`.

    Returns:
        By name, shape (times,); a cosine.

    Raises:
        ValueError: If there is no continuous symmetry, or one moves what the trajectory lacks.

    References:
        Dissertation, Eq. (2.11).
    """
    continuous = [s for s in symmetries if s.dim]
    if not continuous:
        raise ValueError(
            "residual: some symmetry must be continuous; got none; discrete groups have no generators."
        )
    needed = [n for s in continuous for n in (*s.parameters, *s.reads)]
    if missing := [n for n in needed if n not in trajectory.tensors]:
        raise ValueError(
            f"residual: all that the symmetries move must be in the trajectory; got none named {missing[0]}; leave "
            "those out that move it, with symmetries.within(trajectory.tensors), or take that of their own model."
        )
    names = distinct_names(continuous)
    return {name: _residual(s, trajectory) for name, s in zip(names, continuous, strict=True)}


def _residual(symmetry: Symmetry, trajectory: Trajectory) -> Tensor:
    rows = []
    for i in range(len(trajectory)):
        tensors = trajectory[i]
        slopes = {n: v[i] / trajectory.rates[n] for n, v in trajectory.velocities.items()}
        found = symmetry.moment(slopes, tensors)
        size = (_norm(symmetry, slopes) * _norm(symmetry, tensors)).clamp_min(torch.finfo(torch.float64).tiny)
        rows.append(found.norm() / size)
    return torch.stack(rows)


def _norm(symmetry: Symmetry, tensors: Tensors) -> Tensor:
    squares = [tensors[n].square().sum() for n in symmetry.parameters if n in tensors]
    return torch.stack(squares).sum().sqrt()
