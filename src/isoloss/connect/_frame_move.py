"""The frame action in a form that can be differentiated twice."""

import torch
from torch import Tensor

from isoloss.dependent._frame import _fixed
from isoloss.teleport.curves import LayerPair

# Newton and Schulz enlarge a small singular value by 3/2 each time: 48 rounds lift 1e-8 to 1, and then converge.
ROUNDS = 56


def frame_moved(pair: LayerPair, algebra: Tensor, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    r"""What :math:`\exp(t M)` moves under the frame action: `isoloss.dependent.Frame`, differentiable.

    .. math:: U' = U S S'^+ + (U C) C'^T

    The complement C is found by products only: nested forward differentiation of singular vectors is wrong
    (torch 2.13). With more samples than units there is no complement.

    Args:
        pair: The layers and the batch.
        algebra: M, shape (h, h).
        t: The time.
        tensors: All parameters by name.
    """
    u, v, x = pair.read(tensors)
    moved = torch.linalg.matrix_exp(t * algebra.to(u)) @ v
    here, there = (pair.units([w @ x], tensors)[0] for w in (v, moved))
    back = torch.linalg.pinv(there)
    new = (u @ here) @ back
    h, k = here.shape
    if k < h:
        before, after = _complement(here, torch.linalg.pinv(here)), _complement(there, back)
        new = new + (u @ before) @ after.mT
    return pair.write(new, moved)


def _complement(s: Tensor, inverse: Tensor) -> Tensor:
    """The polar factor of (1 - S S^+) E, with E orthonormal to the fixed directions of the frame action."""
    h, k = s.shape
    fixed = _fixed(h, k).to(s)
    e = torch.linalg.qr(fixed, mode="complete").Q[:, k:]
    c = e - s @ (inverse @ e)
    for _ in range(ROUNDS):
        c = 1.5 * c - 0.5 * c @ (c.mT @ c)
    return c
