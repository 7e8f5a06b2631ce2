"""Orbit dimensions of two layers, in closed form: as printed, and as they are."""

from __future__ import annotations

from math import comb
from typing import Literal, get_args

from isoloss._checks import is_whole

Activation = Literal["linear", "homogeneous", "radial"]


def generic_orbit_dimension(m: int, h: int, n: int, activation: Activation) -> int:
    r"""The dimension of the orbit of almost every (U, V), for :math:`F(x) = U \sigma(V x)`.

    .. math::
        GL_h &: h^2 - (h-n)_+ (h-m)_+ && \text{(linear)} \\
        T_+(h) &: h && \text{(homogeneous)} \\
        O(h) &: \tbinom h2 - \tbinom{(h - n - m)_+}{2} && \text{(radial)}

    The first is Prop. A.2.9, which holds at every pair of full rank. The others differ from Th. 2.3.8 and Cor. A.2.10,
    see `published_orbit_dimension`: a scaling is in the stabilizer only if it scales zero rows of V and zero columns of
    U, of which a generic pair has none; a rotation, if it fixes the columns of V and the rows of U together, which
    span min(h, m + n) dimensions. At any pair the dimensions are the number of hidden units that have a weight,
    and that of O(h) with the rank of :math:`[U^T\; V]` in the place of m + n.

    Args:
        m: Outputs; U is m x h.
        h: Hidden units.
        n: Inputs; V is h x n. A hidden bias counts as one more.
        activation: Which picks the group: GL(h), positive scalings or O(h).

    Raises:
        ValueError: If a size is no positive whole number, or the activation is unknown.

    References:
        Dissertation, Th. 2.3.8, Prop. A.2.9, Cor. A.2.10.
    """
    _check(m, h, n, activation, "generic_orbit_dimension")
    if activation == "linear":
        return h**2 - max(0, h - n) * max(0, h - m)
    if activation == "homogeneous":
        return h
    return comb(h, 2) - comb(max(0, h - n - m), 2)


def published_orbit_dimension(m: int, h: int, n: int, activation: Activation) -> int:
    r"""The same as Th. 2.3.8 and Cor. A.2.10 print it.

    .. math::
        GL_h : h^2 - (h-n)_+ (h-m)_+, \qquad
        T_+(h) : \min(h, \max(n, m)), \qquad
        O(h) : \tbinom h2 - \tbinom{(h - \max(n, m))_+}{2}

    The last two are those of the pair :math:`U_0 = [1\; 0],\; V_0 = [1\; 0]^T`, and the least among pairs of full rank,
    not the generic ones. The proof moves the stabilizer of (U, V) to that of :math:`(U_0, V_0)` by elements of GL(h)
    that need not lie in the group. For (m, h, n) = (1, 3, 1) it prints 1 and 2 where almost every point has 3.

    Args:
        m: Outputs.
        h: Hidden units.
        n: Inputs.
        activation: Which picks the group.

    Raises:
        ValueError: If a size is no positive whole number, or the activation is unknown.

    References:
        Dissertation, Th. 2.3.8 and Cor. A.2.10.
    """
    _check(m, h, n, activation, "published_orbit_dimension")
    if activation == "linear":
        return h**2 - max(0, h - n) * max(0, h - m)
    if activation == "homogeneous":
        return min(h, max(n, m))
    return comb(h, 2) - comb(max(0, h - max(n, m)), 2)


def _check(m: int, h: int, n: int, activation: str, where: str) -> None:
    if not all(is_whole(size, least=1) for size in (m, h, n)):
        raise ValueError(
            f"landscape.{where}: m, h and n must be whole numbers of at least 1; got {m!r}, {h!r}, {n!r}; they are the "
            "numbers of outputs, hidden units and inputs."
        )
    if activation not in get_args(Activation):
        raise ValueError(
            f"landscape.{where}: activation must be one of {', '.join(get_args(Activation))}; got {activation!r}; it "
            "picks the group."
        )
