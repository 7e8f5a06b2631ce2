"""What the gradient and the Hessian have in common along an orbit: what congruence leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isoloss.landscape._hessian import DENSE, Hessian
from isoloss.landscape._spectrum import zero_tolerance


class Inertia(NamedTuple):
    """How many eigenvalues are positive, negative and zero."""

    positive: int
    negative: int
    zero: int


def inertia(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    at: Mapping[str, Tensor] | None = None,
    tolerance: float | None = None,
    limit: int = DENSE,
) -> Inertia:
    r"""The signs of the Hessian's eigenvalues.

    .. math:: H(g w) = J^{-T} H(w) J^{-1}, \qquad J = \partial (g w) / \partial w

    holds for linear actions everywhere, and for all actions at critical points. Eigenvalues change, but by
    Sylvester's law of inertia not their signs. Numerically a strong scaling moves eigenvalues towards the tolerance.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`.
        at: Parameters and buffers by name, where the point is not the model's own.
        tolerance: Largest modulus of a zero; see `zero_tolerance` for the default.
        limit: Most parameters.

    References:
        Dissertation, Prop. A.2.8, for the gradient; differentiated once more.
    """
    eigenvalues = torch.linalg.eigvalsh(Hessian(model, loss, at=at).dense(limit))
    bound = zero_tolerance(eigenvalues) if tolerance is None else tolerance
    positive, negative = int((eigenvalues > bound).sum()), int((eigenvalues < -bound).sum())
    return Inertia(positive, negative, len(eigenvalues) - positive - negative)


def newton_decrement(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    at: Mapping[str, Tensor] | None = None,
    tolerance: float | None = None,
    limit: int = DENSE,
) -> Tensor:
    r"""The square of the gradient measured by the Hessian: a gradient norm that orbits do not change.

    .. math:: \nabla L^T H^+ \nabla L

    Half of it is what a Newton step expects to gain, so it is negative where that step climbs. For linear actions
    :math:`\nabla L = H v` goes to :math:`J^{-T} H v`, and v to :math:`J v`: the product :math:`v^T H v` stays, and is
    the same for every v, though the pseudo-inverse itself does not move along. Actions that are not linear change it.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`.
        at: Parameters and buffers by name, where the point is not the model's own.
        tolerance: Largest modulus of a zero eigenvalue; see `zero_tolerance` for the default.
        limit: Most parameters.

    Raises:
        ValueError: If the gradient is no product of the Hessian with a vector.
    """
    hessian = Hessian(model, loss, at=at)
    eigenvalues, vectors = torch.linalg.eigh(hessian.dense(limit))
    bound = zero_tolerance(eigenvalues) if tolerance is None else tolerance
    kept = eigenvalues.abs() > bound
    parts = vectors.T @ hessian.gradient
    outside, whole = float(parts[~kept].norm()), float(parts.norm())
    if outside > torch.finfo(parts.dtype).eps ** 0.5 * whole:
        raise ValueError(
            "landscape.newton_decrement: the gradient must lie in the range of the Hessian; got a part of length "
            f"{outside:.1e} of {whole:.1e} outside, so that Newton's step does not exist; pass a smaller tolerance, "
            "or take another point."
        )
    return (parts[kept].square() / eigenvalues[kept]).sum()
