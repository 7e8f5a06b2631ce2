"""The loss changes less than along random directions of the same length."""

import torch
from torch import Tensor

from isoloss.discovery._local import TINY, Local

RIDGE = 1e-6
"""Added to the Gram matrix, as a part of its mean diagonal: directions closer to dependent count as dependent."""


def relative_invariance(here: Local, beta: float) -> Tensor:
    r"""The part of a random change that the directions leave, averaged over their span.

    .. math:: \frac 1 k \operatorname{tr} G^{-1} A, \qquad G_{ij} = \mathbb{E}\, v_i \cdot v_j, \qquad
        A_{ij} = \mathbb{E}\, \bar J v_i \cdot \bar J v_j

    Ours, with :math:`v_i = D_g a(h_i)` and :math:`\bar J = \sqrt{p}\, D_\theta L / \|D_\theta L\|_F`: 0 if invariant, 1
    for directions drawn at random. Samples where the loss has no slope are left out. No other drowns the rest by a
    steep loss; a vanishing action does not pay; and it is the same for every basis of the span, so that generators
    which become dependent do not pay either. For a linear action it is a block Rayleigh quotient in h, all of whose
    local minima are global.
    """
    v, steep = here.directions * here.sloped[:, None, None], here.steep
    n, k, d = steep.shape
    gram = torch.einsum("nip,njp->ij", v, v) / n
    changes = torch.einsum("nid,njd->ij", steep, steep) / (n * d)
    ridge = RIDGE * gram.diagonal().mean().detach().clamp_min(TINY)
    return torch.linalg.solve(gram + ridge * torch.eye(k).to(gram), changes).diagonal().mean()
