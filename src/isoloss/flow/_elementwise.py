"""Conserved quantities beyond symmetry: elementwise and radial activations on whitened inputs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
NODES = 64

ANTIDERIVATIVES: dict[str, Function] = {
    "identity": lambda x: x**2 / 2,
    "relu": lambda x: x**2 / 2 * (x > 0),
    "leaky_relu": lambda x: x**2 / 2,
    "tanh": lambda x: x.sinh() ** 2 / 2,
    "sigmoid": lambda x: x + x.expm1(),
}


def antiderivative(activation: str | Function, *, start: float = 0.0) -> Function:
    r"""The function :math:`x \mapsto \int_{start}^x \sigma / \sigma'`.

    Closed forms from 0 for the names in `ANTIDERIVATIVES`; any other activation is differentiated by autograd and
    integrated by Gauss-Legendre quadrature with 64 nodes, to rounding where :math:`\sigma / \sigma'` is analytic near
    the interval. For ReLU the integrand is taken as 0 where the slope is: such weights do not move.

    Args:
        activation: A name, or an elementwise function.
        start: Lower limit; changes the quantity by a constant.

    Raises:
        ValueError: If the name is unknown; when called, if the slope vanishes or changes sign on the way.

    References:
        Dissertation, Eqs. (2.17) and (2.27).
    """
    if isinstance(activation, str):
        if activation not in ANTIDERIVATIVES:
            raise ValueError(
                f"antiderivative: the activation must be one of {', '.join(ANTIDERIVATIVES)} or a function; "
                f"got {activation!r}."
            )
        closed = ANTIDERIVATIVES[activation]
        return lambda x: closed(x) - closed(torch.as_tensor(start, dtype=x.dtype))
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES))

    def integral(x: Tensor) -> Tensor:
        half = (x.detach().double() - start) / 2
        y = (start + half.unsqueeze(-1) * (nodes.to(half.device) + 1)).requires_grad_()
        with torch.enable_grad():
            value = activation(y)
            (slope,) = torch.autograd.grad(value.sum(), y)
        if slope.numel() and not (bool((slope > 0).all()) or bool((slope < 0).all())):
            raise ValueError(
                "antiderivative: sigma must be strictly monotone between the start and the weights, or sigma / sigma' "
                f"has a pole; got slopes from {float(slope.min()):.3g} to {float(slope.max()):.3g}; "
                "this activation has no such quantity."
            )
        ratio = (value / slope).detach()
        return (half * (ratio * weights.to(half.device)).sum(-1)).to(x.dtype)

    return integral


def elementwise_quantity(outgoing: Tensor, incoming: Tensor, activation: str | Function) -> Tensor:
    r"""What gradient flow conserves in :math:`L(U \sigma(V))`, for every neuron.

    .. math:: Q_a = \tfrac12 \lVert U_{\cdot a} \rVert^2 - \sum_j \int_0^{V_{aj}} \frac{\sigma(x)}{\sigma'(x)} dx

    It belongs to no symmetry of the network: the inputs must be whitened, X = 1, and there must be no bias.

    Args:
        outgoing: U, shape (*batch, m, h).
        incoming: V, shape (*batch, h, n).
        activation: As in `antiderivative`.

    Returns:
        Shape (*batch, h); the sum over h is the quantity of Eq. (2.17).

    Raises:
        ValueError: If the shapes do not meet, or the activation is not strictly monotone.

    References:
        Dissertation, Eq. (2.17). Differs: every neuron has its own.
    """
    _check_meet(outgoing, incoming, "elementwise_quantity")
    return outgoing.square().sum(-2) / 2 - antiderivative(activation)(incoming).sum(-1)


def radial_quantity(outgoing: Tensor, incoming: Tensor, profile: Function, *, start: float = 1.0) -> Tensor:
    r"""What gradient flow conserves in :math:`L(U g(V))`, where g rescales the rows of V radially.

    .. math:: Q_a = \tfrac12 \lVert U_{\cdot a} \rVert^2 - \int_{start}^{\lVert V_a \rVert} \frac{g(r)}{g'(r)} dr,
        \qquad g(V)_a = g(\lVert V_a \rVert)\, \frac{V_a}{\lVert V_a \rVert}

    Args:
        outgoing: U, shape (*batch, m, h).
        incoming: V, shape (*batch, h, n).
        profile: g as a function of the norm of a row, :math:`g(r) = h(r)\, r` in the notation of the dissertation.
        start: Lower limit of the integral, on the side of any pole where the norms are.

    Returns:
        Shape (*batch, h).

    Raises:
        ValueError: If the shapes do not meet, or g is not strictly monotone on the way.

    References:
        Dissertation, Proposition 2.7.1, for the sum over all rows and spectral initializations. Differs: every row has
        its own, from any initialization, since :math:`\hat V_a^T \nabla g(V_a) = g'(r) \hat V_a^T`.
    """
    _check_meet(outgoing, incoming, "radial_quantity")
    norms = torch.linalg.vector_norm(incoming, dim=-1)
    return outgoing.square().sum(-2) / 2 - antiderivative(profile, start=start)(norms)


def _check_meet(outgoing: Tensor, incoming: Tensor, where: str) -> None:
    if min(outgoing.dim(), incoming.dim()) < 2 or outgoing.shape[-1] != incoming.shape[-2]:
        raise ValueError(
            f"{where}: shapes must be (*batch, m, h) and (*batch, h, n); got {tuple(outgoing.shape)} and "
            f"{tuple(incoming.shape)}; transpose the weights."
        )
