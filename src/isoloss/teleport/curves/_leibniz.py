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
    r"""The pseudo-inverse P of a matrix of full rank, from :math:`S^T S P = S^T`, or its transpose if S is wide.

    .. math:: P^{(n)} = P P^T \Bigl(S^{(n)T} - \sum_{i \ge 1} \binom{n}{i} (S^T S)^{(i)} P^{(n-i)}\Bigr)
    """
    if s[0].shape[0] < s[0].shape[1]:
        return transposed(pseudo_inverse(transposed(s)))
    found = [torch.linalg.pinv(s[0])]
    grams = product(transposed(s), s)
    for n in range(1, len(s)):
        known = _sum([comb(n, i) * grams[i] @ found[n - i] for i in range(1, n + 1)])
        # The inverse of S^T S is P P^T: S itself is inverted, not its square.
        found.append(found[0] @ (found[0].mT @ (s[n].mT - known)))
    return found


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
