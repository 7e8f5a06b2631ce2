"""Lemmas 4.5.5 and 4.5.6, Propositions 4.5.7 and 4.5.8: on a quadratic form one jump is enough, and is known."""

from collections.abc import Callable

import torch
from torch import Tensor

from isoloss._checks import holds


def connecting(a: Tensor, w: Tensor, to: Tensor) -> Tensor:
    r"""An orthogonal g that leads from one point of a level set to another: :math:`A^{-1/2} g A^{1/2} w = w'`.

    The level sets of :math:`L_A(w) = w^T A w` are single orbits. We give the reflection that swaps the two points in
    the coordinates :math:`A^{1/2} w`, where the level set is a sphere.

    Args:
        a: Symmetric positive definite, ``(n, n)``.
        w: The one point, ``(n,)``, not 0.
        to: The other, not 0.

    Returns:
        g, ``(n, n)``: orthogonal up to rounding, even where the two values differ; then it only turns the direction.

    Raises:
        ValueError: If one of the points is 0, which is a level set of its own.

    References:
        Dissertation, eq. (4.33), Lemma 4.5.5. Differs: a reflection, which needs no basis.
    """
    u, v = _root(a, torch.sqrt) @ w, _root(a, torch.sqrt) @ to
    if not holds(u.norm() > 0) or not holds(v.norm() > 0):
        raise ValueError(
            f"connecting: both points must have values above 0; got {float(u @ u):g} and {float(v @ v):g}; the level "
            "set of 0 is one point, which nothing moves."
        )
    d = u / u.norm() - v / v.norm()
    eye = torch.eye(len(w), dtype=w.dtype, device=w.device)
    square = d @ d
    return eye - 2 * d[:, None] * d / torch.where(square > 0, square, 1.0)


def steepest(a: Tensor, w: Tensor) -> Tensor:
    r"""The point of the level set where the gradient is largest, and which is nearest to the minimum.

    .. math:: w' = \pm \sqrt{c / \lambda_{\max}}\; e_{\max}, \qquad c = w^T A w, \qquad
        |\nabla L_A(w')|^2 = 4 c \lambda_{\max}, \qquad |w'|^2 = c / \lambda_{\max}

    e is a unit eigenvector of the largest eigenvalue. From there the gradient flow runs straight to the minimum
    along e, and every point of it is again the steepest of its level set (Prop. 4.5.7): one jump is enough. Of the
    two signs we take the one nearer to w. If the largest eigenvalue is multiple there are more solutions; one is given.

    Args:
        a: Symmetric positive definite, ``(n, n)``.
        w: Any point, ``(n,)``; at 0 there is nothing to move (the Lemma needs c > 0).

    References:
        Dissertation, Lemma 4.5.6, Props. 4.5.7 and 4.5.8; 2022 paper, Props. 5.5 and 5.6. Misprints there: in the proof
        of 4.5.7 the gradient is 2 A w, and eq. (4.44) should read :math:`A w' = \lambda^{-1} w'`.
    """
    values, vectors = torch.linalg.eigh(a)
    e = vectors[:, -1]
    sign = torch.where(e @ w < 0, -1.0, 1.0)
    return sign * ((w @ a @ w) / values[-1]).sqrt() * e


def flow(a: Tensor, w: Tensor, time: Tensor | float) -> Tensor:
    r"""Where the gradient flow :math:`\dot w = -2 A w` leads to: :math:`e^{-2 A t} w`.

    Args:
        a: Symmetric, ``(n, n)``.
        w: The start, ``(n,)``.
        time: One time or ``(times,)``.

    Returns:
        ``(n,)`` or ``(times, n)``.
    """
    values, vectors = torch.linalg.eigh(a)
    decay = torch.exp(-2 * values * torch.as_tensor(time, dtype=w.dtype, device=w.device).unsqueeze(-1))
    return (decay * (vectors.mT @ w)) @ vectors.mT


def _root(a: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors * f(values) @ vectors.mT
