"""Lemma 4.5.10, Propositions 4.5.11 and 4.5.12: at the target of a jump a gradient step is a dampened Newton step."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import hessian

from isoloss.teleport.theory._derivatives import Loss, across, curvature, gradient


def misalignment(loss: Loss, w: Tensor) -> Tensor:
    r"""The sine of the angle between the gradient p and H p: 0 exactly where p is an eigenvector of the Hessian.

    It is 0 where the norm of the gradient is critical on the level set, since
    :math:`\partial_v |p|^2 = 2 v^T H p` vanishes for all v orthogonal to p. The Lemma needs a gradient other than 0;
    at 0 the sine is not defined (NaN). Where H p = 0 we give 0: an eigenvector of the eigenvalue 0.

    References:
        Dissertation, Lemma 4.5.10, eqs. (4.47) to (4.50); 2022 paper, Lemma C.4.
    """
    p = gradient(loss, w)
    turned = curvature(loss, w, p)
    off, length = across(p, turned).norm(), turned.norm()
    return torch.where(length > 0, off / torch.where(length > 0, length, 1.0), off)


def gradient_eigenvalue(loss: Loss, w: Tensor) -> Tensor:
    r"""The curvature along the gradient, :math:`\lambda_0 = p^T H p / p^T p`; an eigenvalue of H where they align."""
    p = gradient(loss, w)
    return p @ curvature(loss, w, p) / (p @ p)


def newton_direction(loss: Loss, w: Tensor) -> Tensor:
    r"""The direction :math:`H^{-1} \nabla L`, from the whole Hessian.

    Prop. 4.5.11 says that where the gradient is longest on its level set, it has this direction. That needs more than
    is written: H invertible, and the eigenvalue of the gradient positive. On a level set of a concave function the two
    are opposite, and for a linear loss there is no such direction. What holds in general is
    :math:`H \nabla L = \lambda_0 \nabla L`.

    References:
        Dissertation, Prop. 4.5.11; 2022 paper, Prop. 5.7.
    """
    return torch.linalg.solve(hessian(loss)(w), gradient(loss, w))


class NewtonStep(NamedTuple):
    r"""One step from a point, in two ways.

    Attributes:
        gradient: :math:`w - \gamma \nabla L`.
        newton: :math:`w - \gamma \lambda_0 H^{-1} \nabla L`, the same where the gradient is an eigenvector.
        eigenvalue: :math:`\lambda_0`.
    """

    gradient: Tensor
    newton: Tensor
    eigenvalue: Tensor


def dampened_newton_step(loss: Loss, w: Tensor, lr: Tensor | float) -> NewtonStep:
    r"""Take one gradient step and the dampened Newton step that it equals at the target of a jump.

    .. math:: w_1 = w' - \gamma \nabla L(w') = w' - \gamma \lambda_0\, \nabla^2 L(w')^{-1} \nabla L(w')

    This holds where :math:`\nabla^2 L(w') \nabla L(w') = \lambda_0 \nabla L(w')` with an invertible Hessian. Strict
    convexity, which the paper assumes, does not make the Hessian invertible. And :math:`\lambda_0` is at most the
    largest eigenvalue of the Hessian *at the target* w', as the proof shows; the statement says at :math:`w_0`, which
    is false in general.

    Args:
        loss: A function of a flat vector.
        w: The target of the jump, w'.
        lr: The learning rate :math:`\gamma`.

    References:
        Dissertation, Prop. 4.5.12, eq. (4.51).
    """
    p, eigenvalue = gradient(loss, w), gradient_eigenvalue(loss, w)
    return NewtonStep(w - lr * p, w - lr * eigenvalue * newton_direction(loss, w), eigenvalue)


def newton_bound(
    distance: Tensor | float,
    damping: Tensor | float,
    *,
    lipschitz: float,
    convexity: float,
    smoothness: float,
) -> Tensor | float:
    r"""How near to the minimum a dampened Newton step comes, for a strongly convex function.

    .. math:: |w_1 - w^*| \le \frac{G}{2 \mu} |w' - w^*|^2 + |1 - \gamma \lambda_0| \frac{L}{\mu} |w' - w^*|

    The papers have :math:`L / 2\mu` in the second term: in the proof of Lemma C.3.1 a factor s slips into an
    integral that has none. With it the bound is false already for :math:`|w|^2`, where a step with damping 1/2 halves
    the distance and their bound says a quarter. With damping 1, :math:`\gamma = 1 / \lambda_0`, nothing changes.

    Args:
        distance: :math:`|w' - w^*|`.
        damping: :math:`\gamma \lambda_0`.
        lipschitz: G, of the Hessian in the spectral norm.
        convexity: The least eigenvalue :math:`\mu` of the Hessian anywhere.
        smoothness: The largest eigenvalue L of the Hessian anywhere.

    Raises:
        ValueError: If the function is not strongly convex, or the constants contradict one another.

    References:
        Dissertation, Prop. 4.5.12, Lemma C.3.1. Differs as said.
    """
    if not 0 < convexity <= smoothness:
        raise ValueError(
            f"newton_bound: convexity must be positive and at most smoothness; got {convexity} and {smoothness}. "
            "They are the extreme eigenvalues of the Hessian of a strongly convex function."
        )
    linear = abs(1 - damping) * smoothness / convexity
    return lipschitz / (2 * convexity) * distance**2 + linear * distance
