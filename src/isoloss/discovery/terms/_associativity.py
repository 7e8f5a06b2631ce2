"""Infinitesimal actions add up."""

from torch import Tensor

from isoloss.discovery._local import Local


def associativity(here: Local, beta: float) -> Tensor:
    r""":math:`\mathbb{E}\, \| D_\theta a(D_g a(h_1)) + D_g a(h_2) - D_g a(h_1 + h_2) \|` over pairs.

    As :math:`D_g a` is linear in h, it is :math:`\| (D_\theta a|_I - 1)\, D_g a(h_1) \|`: it vanishes for every map
    that keeps the identity axiom at all parameters, group action or not. What associativity asks beyond it shows in
    second order: the bracket of two directions must be a direction (`Grade.bracket`).

    References:
        Dissertation, Theorem 6.3.2 and section 6.5.1, where the norm is not told.
    """
    return here.theta.new_zeros(()) if here.action.anchored else here.associativity_error.mean()
