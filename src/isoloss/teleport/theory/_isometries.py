"""Corollary 4.5.2: the jumps that change nothing, because they are isometries of the learning rate."""

import torch
from torch import Tensor

from isoloss._checks import holds


def isometry(q: Tensor, eta: Tensor) -> Tensor:
    r"""The element :math:`\eta^{1/2} q\, \eta^{-1/2}` of :math:`O_\eta`, for an orthogonal matrix q.

    .. math:: O_\eta = \{g : g^T \eta^{-1} g = \eta^{-1}\}

    Every element of the group is of this form. If the loss keeps its value under such a g, acting linearly, then its
    rate of decay :math:`\nabla L^T \eta \nabla L` is the same before and after. For one learning rate this is the
    orthogonal group: only the symmetric part of a matrix is worth searching.

    The action must be linear in the coordinates that the optimizer uses. The Rosenbrock function has a group of
    rotations, too, but they act through a nonlinear map and do change the rate. The learning rates must be positive
    definite for the inverse to exist; the text asks for semidefinite.

    Args:
        q: Orthogonal, ``(n, n)``.
        eta: Symmetric positive definite, ``(n, n)``.

    Raises:
        ValueError: If eta is not positive definite to rounding, n eps of its largest eigenvalue.

    References:
        Dissertation, Cor. 4.5.2; 2022 paper, Cor. 5.2. In the middle of eq. (4.23) two minus signs are lost.
    """
    values, vectors = torch.linalg.eigh(eta)
    if not holds(values[0] > len(values) * torch.finfo(values.dtype).eps * values[-1]):
        raise ValueError(
            f"isometry: the learning rates eta must be positive definite; got eigenvalues from {float(values[0]):g} to "
            f"{float(values[-1]):g}; leave out the directions that are not trained."
        )
    root = vectors * values.sqrt() @ vectors.mT
    return root @ torch.linalg.solve(root, q, left=False)


def is_isometry(g: Tensor, eta: Tensor, *, tolerance: float | None = None) -> bool:
    r"""Whether :math:`g \eta g^T = \eta`, which is the same as :math:`g^T \eta^{-1} g = \eta^{-1}` without the inverse.

    Args:
        g: Any matrix ``(n, n)``.
        eta: Positive definite, ``(n, n)``.
        tolerance: Relative to the largest entry of eta; by default 16 n eps times the condition number of eta.
    """
    if tolerance is None:
        tolerance = 16 * len(eta) * torch.finfo(eta.dtype).eps * float(torch.linalg.cond(eta))
    return bool(((g @ eta @ g.mT - eta).abs() <= tolerance * eta.abs().max()).all())
