"""The principal logarithm of a real matrix: torch has the exponential only."""

import torch
from torch import Tensor

from isoloss.groups._matrix import one_by_one


def principal_log(g: Tensor, *, where: str) -> Tensor:
    r"""Real a with ``exp(a) == g`` and eigenvalues of imaginary part in (-pi, pi), for g ``(*batch, n, n)``.

    .. math:: \log g = 2^k \log g^{1/2^k}

    Roots are taken until g is near the identity, where a Padé approximant serves. This needs no eigenvectors,
    hence shears and other defective matrices are as good as any. Computed in float64; with an eigenvalue at an
    angle d from the negative real axis the relative error is eps / d^2, and beyond 1e-8 it is refused.

    Args:
        g: Invertible matrices.
        where: Named in the error.

    Raises:
        ValueError: If an eigenvalue lies on the negative real axis, or too near it for float64.

    References:
        N. Higham (2008), Functions of Matrices: inverse scaling and squaring, Section 11.5; square roots by
        the product form of the Denman-Beavers iteration, Eq. (6.29).
    """
    return one_by_one(lambda m: _principal_log(m, where), g)


def _principal_log(g: Tensor, where: str) -> Tensor:
    eigenvalues = torch.linalg.eigvals(g)
    negative = eigenvalues.real[(eigenvalues.imag == 0) & (eigenvalues.real <= 0)]
    if negative.numel():
        raise ValueError(
            f"{where}: g must have no negative real eigenvalue to have a real principal logarithm; "
            f"got {', '.join(f'{v:.4g}' for v in negative.tolist())}. "
            "Take the log of compose(g, g), or of g after a reflection."
        )
    identity = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    root, halvings = g, 0
    # Within 0.264 of the identity the [7/7] approximant is exact to float64 (Higham, Table 11.1).
    while torch.linalg.matrix_norm(root - identity, 1) > 0.264 and halvings < 64:
        root, halvings = _square_root(root), halvings + 1
    a = 2.0**halvings * _pade_log(root - identity)
    error = torch.linalg.matrix_norm(torch.linalg.matrix_exp(a) - g) / torch.linalg.matrix_norm(g)
    if not error <= torch.finfo(g.dtype).eps ** 0.5:  # half the digits: more than a float32 holds
        raise ValueError(
            f"{where}: exp(log(g)) must return g; got a relative error of {error:.1e}, condition number "
            f"{torch.linalg.cond(g):.1e}. Move g's eigenvalues away from the negative real axis."
        )
    return a


def _square_root(g: Tensor) -> Tensor:
    # m = x^-2 g tends to 1 quadratically, after about log2(log cond(g)) halvings of its logarithm.
    identity = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    m, x = g, g
    for _ in range(64):
        inverse = torch.linalg.inv_ex(m).inverse
        x = x @ (identity + inverse) / 2
        m = (identity + (m + inverse) / 2) / 2
        if not torch.linalg.matrix_norm(m - identity) > g.shape[-1] * torch.finfo(g.dtype).eps:
            break
    return x


def _pade_log(y: Tensor, order: int = 7) -> Tensor:
    """log(1 + y) = integral of y (1 + t y)^-1 over t in [0, 1], by Gauss quadrature: the Padé approximant."""
    identity = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    k = torch.arange(1, order, dtype=y.dtype, device=y.device)
    nodes, vectors = torch.linalg.eigh(torch.diag(k / (4 * k**2 - 1).sqrt(), -1))  # Golub and Welsch
    t, weights = (nodes + 1) / 2, vectors[0] ** 2
    many = identity + t[:, None, None] * y
    # Expanded: for as many rows as there are nodes, solve would take y for a batch of vectors.
    return torch.einsum("k,kij->ij", weights, torch.linalg.solve(many, y.expand_as(many)))
