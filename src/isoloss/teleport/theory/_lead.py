"""Proposition 4.5.4: for how many steps a jump to a larger gradient keeps its lead."""

from math import floor, inf, log

import torch
from torch import Tensor

from isoloss.teleport.theory._derivatives import Loss, gradient


def required_lead(lr: float, lipschitz: float, steps: int) -> float:
    r"""By what factor the gradient must be larger so that it still is after some steps.

    .. math:: \frac{|\nabla L(w')|}{|\nabla L(w)|} \ge \Bigl(\frac{1 + \eta L}{1 - \eta L}\Bigr)^T
        \quad\Longrightarrow\quad |\nabla L(w'_T)| \ge |\nabla L(w_T)|

    One step of gradient descent multiplies the norm of the gradient by a factor between :math:`1 - \eta L` and
    :math:`1 + \eta L`. Sufficient, far from necessary; and infinite once :math:`\eta L \ge 1`, where the lower
    factor says nothing.

    Args:
        lr: Learning rate.
        lipschitz: L, of the norm of the gradient, on a region that holds both runs.
        steps: T.

    Raises:
        ValueError: If the rate, the constant or the number of steps is negative.

    References:
        Dissertation, Assumption 4.5.3, Prop. 4.5.4, eq. (4.25); 2022 paper, Prop. 5.4.
    """
    if min(lr, lipschitz, steps) < 0:
        raise ValueError(
            f"required_lead: rate, constant and steps must not be negative; got {lr}, {lipschitz}, {steps}. "
            "The factors of a step are 1 - lr * lipschitz and 1 + lr * lipschitz."
        )
    x = lr * lipschitz
    return ((1 + x) / (1 - x)) ** steps if x < 1 else inf


def kept_steps(lead: float, lr: float, lipschitz: float) -> int:
    """For how many steps a lead of this factor is guaranteed: the largest T of `required_lead`.

    Raises:
        ValueError: If the lead is below 1, or the rate or the constant not positive.
    """
    x = lr * lipschitz
    if lead < 1 or x <= 0:
        raise ValueError(
            f"kept_steps: lead must be at least 1, rate and constant positive; got {lead}, {lr}, {lipschitz}. "
            "A jump to a smaller gradient has no lead to keep."
        )
    return floor(log(lead) / log((1 + x) / (1 - x)) * (1 + 1e-12)) if x < 1 else 0


def gradient_norms(loss: Loss, w: Tensor, lr: float, steps: int) -> Tensor:
    """The norms of the gradient along gradient descent, ``(steps + 1,)``."""
    norms = []
    for _ in range(steps + 1):
        p = gradient(loss, w)
        norms.append(p.norm())
        w = w - lr * p
    return torch.stack(norms)
