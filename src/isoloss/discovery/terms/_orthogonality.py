"""Generators differ, as published."""

import torch
from torch import Tensor

from isoloss.discovery._local import TINY, Local


def orthogonality(here: Local, beta: float) -> Tensor:
    r""":math:`\sum_{i<j} \frac{h_i \cdot h_j}{\|h_i\| \|h_j\|}`, the cosines with their signs.

    It is least not where generators are orthogonal but where they point away from one another: two of them reach -1 as
    :math:`h_2 = -h_1`. And different generators may have the same directions, as the action is free to map them so.
    `independence` has neither flaw.

    References:
        Dissertation, section 6.5.2.
    """
    flat = here.h.flatten(1)
    unit = flat / flat.square().sum(1, keepdim=True).clamp_min(TINY).sqrt()
    return torch.triu(unit @ unit.mT, 1).sum()
