"""Proposition 4.5.1: what a jump along the level set does to the gradient, and when it speeds up the descent."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd

from isoloss.teleport.theory._derivatives import Loss, gradient

Move = Callable[[Tensor], Tensor]
"""The action of one fixed group element on flat vectors."""


def transported_gradient(loss: Loss, move: Move, w: Tensor) -> Tensor:
    r"""The gradient at the moved point, from the gradient here.

    .. math:: \nabla L(w') = J^{-T} \nabla L(w), \qquad w' = g \cdot w, \quad J = \partial w' / \partial w

    It holds where the move keeps the loss *in a neighbourhood* of w and J is invertible. That the loss is the same at
    the two points is not enough: a translation from one point of a level set to another has J = 1 and does change
    the gradient. The element g is fixed: J does not contain its dependence on w, if it was chosen by looking at w.

    Args:
        loss: A function of a flat vector.
        move: The action of one element that keeps the loss.
        w: Where to start, ``(n,)``.

    References:
        Dissertation, Prop. 4.5.1, eq. (4.19); 2022 paper, Prop. 5.1.
    """
    p = gradient(loss, w)
    return torch.linalg.solve(jacfwd(move)(w).mT, p)


def decay_rate(p: Tensor, eta: Tensor | float = 1.0) -> Tensor:
    r"""How fast the loss falls under gradient flow, :math:`-dL/dt = \nabla L^T \eta \nabla L`.

    Args:
        p: The gradient, ``(n,)``.
        eta: Learning rate: a number, one per variable ``(n,)``, or a positive semidefinite matrix ``(n, n)``.

    References:
        Dissertation, eq. (4.17).
    """
    weights = torch.as_tensor(eta, dtype=p.dtype, device=p.device)
    return p @ (weights @ p if weights.dim() == 2 else weights * p)


def accelerates(loss: Loss, move: Move, w: Tensor, eta: Tensor | float = 1.0) -> Tensor:
    r"""Whether the loss falls faster from the moved point, a boolean of no dimension.

    .. math:: |J^{-T} \nabla L(w)|_\eta^2 > |\nabla L(w)|_\eta^2

    The rate is that of gradient flow at the moment of the jump. It promises nothing for a finite step: where the
    gradient is larger the curvature often is, too, and a step of fixed length may overshoot.

    References:
        Dissertation, Prop. 4.5.1, eq. (4.18); 2022 paper, Prop. 5.1, eq. (10).
    """
    return decay_rate(transported_gradient(loss, move, w), eta) > decay_rate(gradient(loss, w), eta)
