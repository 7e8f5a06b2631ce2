"""Derivatives of products, quotients and roots of matrices, from those of what they are made of.

A function of time is a list here: its value, its first derivative, its second and so on.
"""

from math import comb

import torch
from torch import Tensor

Series = list[Tensor]


def product(a: Series, b: Series) -> Series:
    r"""The product :math:`AB`, by Leibniz' rule :math:`(AB)^{(n)} = \sum_i \binom{n}{i} A^{(i)} B^{(n-i)}`."""
    return [_sum([comb(n, i) * a[i] @ b[n - i] for i in range(n + 1)]) for n in range(len(a))]


def quotient(a: Series, b: Series) -> Series:
    """The quotient A B^-1, from Leibniz' rule for A = (A B^-1) B."""
    inverse, found = torch.linalg.inv(b[0]), []
    for n, x in enumerate(a):
        found.append((x - _sum([comb(n, i) * found[n - i] @ b[i] for i in range(1, n + 1)], x)) @ inverse)
    return found


def square_root(a: Series, steps: int = 20) -> Series:
    r"""The root of a symmetric, positive definite matrix, by the iteration of Denman and Beavers.

    .. math:: Y \leftarrow \tfrac12 (Y + Z^{-1}), \quad Z \leftarrow \tfrac12 (Z + Y^{-1}), \qquad Y \to A^{1/2}

    It is run on the derivatives, too, and can itself be differentiated where eigenvalues coincide, as eigenvectors
    cannot.

    Args:
        a: The matrix and its derivatives.
        steps: Halvings of an eigenvalue's distance from one on a logarithmic scale, plus five: 20 are enough down to
            1e-9.
    """
    y, z = a, _identity(a)
    one = z
    for _ in range(steps):
        y, z = _mean(y, quotient(one, z)), _mean(z, quotient(one, y))
    return y


def pseudo_inverse(s: Series) -> Series:
    r"""The pseudo-inverse P of a matrix whose rank does not change.

    .. math:: P^{(n)} = P P^T \Bigl(S^{(n)T} - \sum_{i \ge 1} \binom{n}{i} (S^T S)^{(i)} P^{(n-i)}\Bigr)

    This is Leibniz' rule on :math:`S^T S P = S^T`, for S of full column rank, or on its transpose for full row rank.
    Else it is Leibniz' rule on the derivative of any pseudo-inverse of constant rank,

    .. math:: P' = -P S' P + P P^T S'^T (1 - S P) + (1 - P S) S'^T P^T P

    Raises:
        ValueError: If the rank changes.

    References:
        Golub and Pereyra (1973), Eq. (4.12).
    """
    if s[0].shape[0] < s[0].shape[1]:
        return transposed(pseudo_inverse(transposed(s)))
    found = [torch.linalg.pinv(s[0])]
    if trace_rank(s[0], found[0]) < s[0].shape[1]:
        return _of_constant_rank(found, s)
    grams = product(transposed(s), s)
    for n in range(1, len(s)):
        known = _sum([comb(n, i) * grams[i] @ found[n - i] for i in range(1, n + 1)])
        # The inverse of S^T S is P P^T: S itself is inverted, not its square.
        found.append(found[0] @ (found[0].mT @ (s[n].mT - known)))
    return found


def trace_rank(s: Tensor, p: Tensor) -> int:
    """The rank of a matrix, from its pseudo-inverse: the trace of the projector."""
    return round(float((s.detach() * p.detach().mT).sum()))


def _of_constant_rank(found: Series, s: Series) -> Series:
    for n in range(1, len(s)):
        p, here, move = found, s[:n], s[1 : n + 1]
        square, other = product(p, transposed(p)), product(transposed(p), p)
        left, right = _rest(product(here, p)), _rest(product(p, here))
        terms = zip(
            product(p, product(move, p)),
            product(square, product(transposed(move), left)),
            product(right, product(transposed(move), other)),
            strict=True,
        )
        found = [*found, [-a + b + c for a, b, c in terms][-1]]
    _check(found, s)
    return found


def _check(p: Series, s: Series) -> None:
    """S P S = S at every order, which fails where the rank changes, by as much as that is."""
    gaps = [x - y for x, y in zip(product(product(s, p), s), s, strict=True)]
    largest = max(float(torch.linalg.vector_norm(x.detach())) for x in s)
    # Half of the digits: the other half is left to rounding, times a power of the condition number.
    if (
        max(float(torch.linalg.vector_norm(g.detach())) for g in gaps)
        > largest * torch.finfo(s[0].dtype).eps ** 0.5
    ):
        raise ValueError(
            "curves: the activations must keep their rank along a curve, or it has no derivative; got rank "
            f"{trace_rank(s[0], p[0])} of at most {min(s[0].shape)}, which changes at once; leave out units or samples "
            "that are copies of others, or start away from such a point."
        )


def _rest(a: Series) -> Series:
    """One minus a projector."""
    eye = torch.eye(a[0].shape[-1], dtype=a[0].dtype, device=a[0].device)
    return [eye - a[0], *(-x for x in a[1:])]


def transposed(a: Series) -> Series:
    """The transpose, at every order."""
    return [x.mT for x in a]


def _sum(terms: list[Tensor], like: Tensor | None = None) -> Tensor:
    """The sum of the terms; zero like another tensor if there is none."""
    return (
        torch.stack(terms).sum(0) if terms else torch.zeros_like(like if like is not None else torch.empty(0))
    )


def _identity(a: Series) -> Series:
    eye = torch.eye(a[0].shape[-1], dtype=a[0].dtype, device=a[0].device)
    return [eye, *(torch.zeros_like(x) for x in a[1:])]


def _mean(a: Series, b: Series) -> Series:
    return [(x + y) / 2 for x, y in zip(a, b, strict=True)]
