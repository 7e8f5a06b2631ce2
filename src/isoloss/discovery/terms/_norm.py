"""Directions have a length."""

from torch import Tensor

from isoloss.discovery._local import TINY, Local


def norm(here: Local, beta: float) -> Tensor:
    r""":math:`\mathbb{E}\, |\beta - \|D_g a(h)\||`, so that the action does not become trivial.

    References:
        Dissertation, section 6.5.2.
    """
    return (beta - here.squared.clamp_min(TINY).sqrt()).abs().mean()
