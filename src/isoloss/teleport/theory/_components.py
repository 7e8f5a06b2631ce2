"""Proposition 4.1 and Lemma A.1 of the 2025 paper: the gradient grows along Newton's direction across the gradient."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import hessian

from isoloss.teleport.theory._derivatives import Loss, gradient
from isoloss.teleport.theory._newton import newton_direction


class NewtonComponents(NamedTuple):
    r"""The two parts of Newton's step :math:`v_2 = -H^{-1} \nabla L`.

    Attributes:
        parallel: The part along the gradient, ``(n,)``.
        orthogonal: The rest, tangent to the level set, ``(n,)``.
    """

    parallel: Tensor
    orthogonal: Tensor


def newton_components(loss: Loss, w: Tensor) -> NewtonComponents:
    r"""Split Newton's step along and across the gradient.

    .. math:: v_\parallel = \frac{v_2 \cdot v_1}{|v_1|^2} v_1, \qquad v_\bot = v_2 - v_\parallel,
        \qquad v_1 = -\nabla L, \quad v_2 = -H^{-1} \nabla L

    Args:
        loss: A function of a flat vector.
        w: A point ``(n,)`` with an invertible Hessian and a gradient other than 0; elsewhere there is no such step.

    References:
        2025 paper, Section 4.1, Figure 1.
    """
    p, step = gradient(loss, w), -newton_direction(loss, w)
    parallel = p * (step @ p) / (p @ p)
    return NewtonComponents(parallel, step - parallel)


def newton_growth(loss: Loss, w: Tensor) -> Tensor:
    r"""The derivative of the squared gradient along :math:`v_\bot`, of no dimension.

    .. math::
        v_\bot \cdot \nabla |p|^2
        = 2 \Bigl(-|p|^2 + \frac{(p^T H^{-1} p)(p^T H p)}{|p|^2}\Bigr)
        = \frac{2}{|p|^2} \sum_{i<j} \frac{(\lambda_i - \lambda_j)^2}{\lambda_i \lambda_j}\, p_i^2 p_j^2

    with the eigenvalues of the Hessian and the entries of the gradient p in its eigenvectors. The sum is computed: the
    difference cancels where it is small. It tells when Prop. 4.1 holds:

    - It is never negative if all eigenvalues have one sign: for convex functions with an invertible Hessian, as the
      paper says, and for concave ones too.
    - It is positive there unless p is an eigenvector, which it is where the gradient is critical on the level set.
    - Pairs of eigenvalues of different signs count negatively. In the plane there is one pair: where
      :math:`\det H < 0` the gradient *always* shrinks along :math:`v_\bot`, unless p is an eigenvector. So it does for
      the linear network :math:`(x y - 1)^2 / 2` wherever xy > 1 or xy < 1/3, arbitrarily close to its minima.

    Args:
        loss: A function of a flat vector.
        w: A point ``(n,)`` with an invertible Hessian and a gradient other than 0.

    References:
        2025 paper, Prop. 4.1, eqs. (1) and (13) to (18). Differs: the last form, and with it what equality means.
    """
    p = gradient(loss, w)
    values, vectors = torch.linalg.eigh(hessian(loss)(w))
    squares = (vectors.mT @ p).square()
    pairs = squares[:, None] * squares * (values[:, None] - values).square() / (values[:, None] * values)
    return pairs.sum() / (p @ p)


def power_gap(a: Tensor, w: Tensor, alpha: float, beta: float) -> Tensor:
    r"""By how much the inequality of Lemma A.1 is exceeded, of no dimension.

    .. math::
        (w^T A^{\alpha+\beta} w)(w^T A^{\alpha-\beta} w) - (w^T A^\alpha w)^2
        = \sum_{i<j} (d_i d_j)^\alpha
        \Bigl( \bigl(\tfrac{d_i}{d_j}\bigr)^{\beta/2} - \bigl(\tfrac{d_j}{d_i}\bigr)^{\beta/2} \Bigr)^2 x_i^2 x_j^2
        \ge 0

    with the eigenvalues d of A and the entries x of w in its eigenvectors. It holds for all real exponents, of which
    the paper allows whole ones. It is 0 if and only if beta is 0 or w is an eigenvector (or 0). A must be definite: for
    A = diag(1, -2) and w = (1, 3) it is false, as eqs. (19) and (20) say.

    In eqs. (6) and (10) the sums over :math:`i \le j` count the terms with i = j twice, on both sides, so that the
    comparison stands.

    Args:
        a: Symmetric positive definite, ``(n, n)``.
        w: Any vector, ``(n,)``.
        alpha: Any real number.
        beta: Likewise.

    Raises:
        ValueError: If a is not positive definite.

    References:
        2025 paper, Lemma A.1, eqs. (2) to (12). Differs as said.
    """
    values, vectors = torch.linalg.eigh(a)
    if not bool((values > 0).all()):
        raise ValueError(
            f"power_gap: the matrix must be positive definite; got an eigenvalue of {float(values[0]):.4g}; "
            "real powers need positive ones, and the inequality is false for others."
        )
    squares, logs = (vectors.mT @ w).square(), values.log()
    excess = 2 * torch.sinh(beta / 2 * (logs[:, None] - logs))
    mean = (alpha * (logs[:, None] + logs)).exp()
    return (mean * excess.square() * squares[:, None] * squares).sum() / 2
