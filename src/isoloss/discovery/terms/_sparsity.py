"""Generators can be read."""

from torch import Tensor

from isoloss.discovery._local import Local


def sparsity(here: Local, beta: float) -> Tensor:
    r""":math:`\sum_{k,j} |h_{kj}|`.

    References:
        Dissertation, section 6.5.2.
    """
    return here.h.abs().sum()
