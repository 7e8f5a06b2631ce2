"""Factors of a matrix: the middle of two of them may be far from all of them."""

from math import sqrt

import torch
from torch import Tensor

from isoloss._checks import is_size


def distant_factors(matrix: Tensor, distance: float) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    r"""Two factorizations of a matrix whose middle is farther from every factorization than the distance (Prop. 3.3.5).

    .. math:: W' = (\beta^{-1} U, \beta V), \quad W'' = (\beta U, \beta^{-1} V), \quad
        \tfrac12 (W' + W'') = s\,(U, V), \quad s = \tfrac12 (\beta + \beta^{-1})

    with the balanced factors :math:`U = P \Sigma^{1/2}, V = \Sigma^{1/2} Q^T` of :math:`A = P \Sigma Q^T`. Beta
    grows until `distance_bound` says so.

    Args:
        matrix: A, square and invertible, float64.
        distance: b, not negative.

    Raises:
        ValueError: If the matrix is not invertible or the distance no number.

    References:
        Dissertation, Proposition 3.3.5. Its proof says that g and its inverse cannot both be near a large multiple of
        the identity; the bound is ours.
    """
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"distant_factors: the matrix must be square; got {tuple(matrix.shape)}; pad it.")
    if not is_size(distance):
        raise ValueError(f"distant_factors: distance must not be negative; got {distance!r}; it is b.")
    p, sigma, qt = torch.linalg.svd(matrix)
    if not bool(sigma[-1] > len(sigma) * torch.finfo(matrix.dtype).eps * sigma[0]):
        raise ValueError(
            f"distant_factors: the matrix must be invertible; got singular values down to {float(sigma[-1]):.2g}; "
            "the statement is about GL."
        )
    u, v = p * sigma.sqrt(), sigma.sqrt().unsqueeze(-1) * qt
    s = 1.0
    while distance_bound(u, v, s) <= distance:
        s = 1.1 * s + 0.1
    beta = s + sqrt(s * s - 1)
    return (u / beta, beta * v), (beta * u, v / beta)


def distance_bound(first: Tensor, second: Tensor, s: float) -> float:
    r"""A lower bound on the distance of s (U, V) from all pairs whose product is A = U V, in the Frobenius norm.

    If :math:`(sU + E)(sV + F) = A`, then :math:`(s^2 - 1) \lVert A \rVert_2 \le s\,(\lVert U \rVert_2 \lVert F \rVert +
    \lVert E \rVert \lVert V \rVert_2) + \lVert E \rVert \lVert F \rVert \le s d \sqrt{\lVert U \rVert_2^2 +
    \lVert V \rVert_2^2} + d^2 / 2` with :math:`d^2 = \lVert E \rVert^2 + \lVert F \rVert^2`, hence

    .. math:: d \ge \sqrt{p^2 + 2 q} - p, \qquad p = s \sqrt{\lVert U \rVert_2^2 + \lVert V \rVert_2^2}, \quad
        q = (s^2 - 1) \lVert U V \rVert_2

    Args:
        first: U.
        second: V.
        s: The factor, at least 1.
    """
    norms = [float(torch.linalg.matrix_norm(m, 2)) for m in (first, second, first @ second)]
    p, q = s * sqrt(norms[0] ** 2 + norms[1] ** 2), max(s * s - 1, 0.0) * norms[2]
    return 2 * q / (sqrt(p * p + 2 * q) + p)
