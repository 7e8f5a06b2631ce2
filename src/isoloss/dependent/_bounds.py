"""How far a data-dependent action can take a network: two bounds of the dissertation."""

import torch
from torch import Tensor


def lipschitz_bound(
    outgoing: Tensor, incoming: Tensor, g: Tensor, units: Tensor, moved: Tensor, lipschitz: float = 1.0
) -> Tensor:
    r"""Lipschitz bound of the network that the R_z action makes of :math:`x \mapsto U \sigma(V x)`.

    .. math:: \eta\, \lVert U \rVert\, \lVert V \rVert\, \lVert g \rVert\, \frac{|\sigma(Vx)|}{|\sigma(gVx)|}

    Spectral norms of matrices. With g the identity it is the bound of the network as it was.

    Args:
        outgoing: U, before the move.
        incoming: V, before the move.
        g: Element of GL(h).
        units: The activations of the sample.
        moved: Its activations after the move.
        lipschitz: The Lipschitz constant of the activation, eta.

    References:
        Dissertation, Proposition 2.4.2, proof in A.3.5.
    """
    norms = [torch.linalg.matrix_norm(m, 2) for m in (outgoing, incoming, g)]
    lengths = torch.linalg.vector_norm(units) / torch.linalg.vector_norm(moved)
    return lipschitz * norms[0] * norms[1] * norms[2] * lengths


def equivariance_bound(
    outgoing: Tensor, incoming: Tensor, g: Tensor, inverse: Tensor, lipschitz: float = 1.0
) -> Tensor:
    r"""The same bound for any action :math:`U' = U c(g, Z)^{-1}`.

    .. math:: \eta\, \lVert U \rVert\, \lVert V \rVert\, \lVert g \rVert\, \lVert c(g, Z)^{-1} \rVert

    Differs: the dissertation, below Eq. (2.9), says to replace the whole fraction by :math:`\lVert c^{-1} \rVert`; the
    factor :math:`\lVert g \rVert` in it comes from V' = g V and stays.

    Args:
        outgoing: U, before the move.
        incoming: V, before the move.
        g: Element of GL(h).
        inverse: The inverse of c(g, Z), shape (h, h).
        lipschitz: The Lipschitz constant of the activation, eta.
    """
    norms = [torch.linalg.matrix_norm(m, 2) for m in (outgoing, incoming, g, inverse)]
    return lipschitz * norms[0] * norms[1] * norms[2] * norms[3]


def change_bound(outgoing: Tensor, units: Tensor) -> Tensor:
    r"""Bound on the change of the outputs of a batch under action 2, whatever g and however large the batch.

    .. math:: \lVert U \sigma(VX) - U' \sigma(V'X) \rVert \le \lVert U \sigma(VX) \rVert

    Frobenius norms; it holds because the change is the part of the outputs that a projector removes.

    Args:
        outgoing: U, before the move.
        units: The activations of the batch, shape (h, k).

    References:
        Dissertation, Proposition 3.4.1, proof in B.3.
    """
    return torch.linalg.matrix_norm(outgoing @ units)
