"""Directions differ."""

import torch
from torch import Tensor

from isoloss.discovery._local import TINY, Local


def independence(here: Local, beta: float) -> Tensor:
    r"""Squared cosines between directions, weighted by their lengths.

    .. math:: \sum_{i<j} \frac{\mathbb{E}\, (v_i \cdot v_j)^2}{\mathbb{E}\, |v_i|^2 |v_j|^2}, \qquad v_i = D_g a(h_i)

    Ours. Least, zero, where the directions are orthogonal everywhere: k generators then move parameters in k ways.
    """
    v, squared = here.directions, here.squared
    inner = (v @ v.mT).square().mean(0)
    outer = (squared[:, :, None] * squared[:, None, :]).mean(0)
    return torch.triu(inner / outer.clamp_min(TINY), 1).sum()
