"""Curves along the two data-dependent actions of GL(h) on adjacent layers, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Literal

import torch
from torch import Tensor

from isoloss.teleport.curves._elementwise import composed, elementwise_derivatives, inverse_derivatives
from isoloss.teleport.curves._layers import LayerPair

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class InverseCurve:
    r"""The curve of action 1, which needs the derivatives of the inverse activation.

    .. math:: U(t) = U e^{-tM}, \qquad V(t) = V + [\sigma^{-1}(e^{tM} \sigma(VX)) - VX]\, X^+

    .. math:: V' = [MA \odot \rho'] X^+, \quad V'' = [M^2 A \odot \rho' + (MA)^{\odot 2} \odot \rho''] X^+, \quad
        A = \sigma(VX), \; \rho = \sigma^{-1} \text{ at } A

    It keeps the outputs on the batch if X has full column rank; else it is the nearest there is.

    Attributes:
        layers: The two layers and the batch.
        algebra: M, shape (h, h).

    References:
        Zhao et al. (2024), Eqs. (46) to (52). Differs: Eq. (50) lacks the 1/j! of the Taylor expansion, without
        which its second derivative counts the term with the square twice; and the pseudo-inverse acts on the change
        of VX only, so that the curve starts at V also where X has less than full row rank (same derivatives).
    """

    layers: LayerPair
    algebra: Tensor

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t.

        Raises:
            ValueError: If the pair has no inverse of its activation.
        """
        if self.layers.inverse is None:
            raise ValueError(
                "InverseCurve.at: the activation must have an inverse; got none; give LayerPair(..., inverse=...)."
            )
        u, v, x = self.layers.read(tensors)
        a, z = t * self.algebra.to(u), v @ x
        moved = self.layers.inverse(torch.linalg.matrix_exp(a) @ self.layers.activation(z))
        # Not a solve: torch (2.13) differentiates that wrongly when forward rules are nested.
        return self.layers.write(u @ torch.linalg.matrix_exp(-a), v + (moved - z) @ torch.linalg.pinv(x))

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0, at most three."""
        u, v, x = self.layers.read(tensors)
        m, z, back = self.algebra.to(u), v @ x, torch.linalg.pinv(x)
        slopes = inverse_derivatives(elementwise_derivatives(self.layers.activation, z, order))
        rows = composed(slopes, _powers(m, self.layers.activation(z), order))
        columns = [p.mT for p in _powers(-m.mT, u.mT, order)]
        return [self.layers.write(c, r @ back) for c, r in zip(columns, rows, strict=True)]


@dataclass(frozen=True)
class ForwardCurve:
    r"""The curve of action 2, which needs no inverse of the activation.

    .. math:: V(t) = e^{tM} V, \qquad U(t) = U S\, S(t)^+ \;[+\, U (I - S(t) S(t)^+)], \qquad S(t) = \sigma(e^{tM} V X)

    The derivatives of :math:`P = S^+` follow from those of S by Leibniz' rule, differentiating :math:`S^T S P = S^T`
    (more units than samples) or :math:`P S S^T = S^T` (fewer); S must have full rank.

    Attributes:
        layers: The two layers and the batch.
        algebra: M, shape (h, h).
        form: "papers" is Eq. (4.16) with a pseudo-inverse, which at t = 0 is no identity where there are more units
            than samples; "difference" adds the term in brackets, and is one. With more samples than units they agree.

    References:
        Zhao et al. (2024), Eq. (38); dissertation, Eqs. (4.16) and (3.6). The derivatives are ours.
    """

    layers: LayerPair
    algebra: Tensor
    form: Literal["difference", "papers"] = "difference"

    def at(self, t: Tensor | float, tensors: Tensors) -> dict[str, Tensor]:
        """The parameters that move, at time t."""
        u, v, x = self.layers.read(tensors)
        moved = torch.linalg.matrix_exp(t * self.algebra.to(u)) @ v
        here, there = self.layers.activation(v @ x), self.layers.activation(moved @ x)
        back = torch.linalg.pinv(there)
        new = (u @ here) @ back
        return self.layers.write(new if self.form == "papers" else new + u - (u @ there) @ back, moved)

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0, at most three."""
        u, v, x = self.layers.read(tensors)
        m, z = self.algebra.to(u), v @ x
        rows = _powers(m, v, order)
        slopes = elementwise_derivatives(self.layers.activation, z, order)
        s = [self.layers.activation(z), *composed(slopes, [r @ x for r in rows])]
        p = _pseudo_inverse(s)
        columns = [u @ s[0] @ q for q in p]
        if self.form == "difference":
            columns = [
                c - sum(comb(n, i) * (u @ s[i]) @ p[n - i] for i in range(n + 1))
                for n, c in enumerate(columns)
            ]
        return [self.layers.write(c, r) for c, r in zip(columns[1:], rows, strict=True)]


def _powers(m: Tensor, x: Tensor, order: int) -> list[Tensor]:
    """The products m x, m^2 x and so on."""
    found = []
    for _ in range(order):
        x = m @ x
        found.append(x)
    return found


def _pseudo_inverse(s: list[Tensor]) -> list[Tensor]:
    """The pseudo-inverse of a matrix of full rank and its derivatives, from the matrix and its derivatives."""
    if s[0].shape[0] < s[0].shape[1]:
        return [p.mT for p in _pseudo_inverse([x.mT for x in s])]
    p = [torch.linalg.pinv(s[0])]
    # The inverse of S^T S is P P^T: S itself is inverted, not its square.
    grams = [sum(comb(n, i) * s[i].mT @ s[n - i] for i in range(n + 1)) for n in range(len(s))]
    for n in range(1, len(s)):
        known = sum(comb(n, i) * grams[i] @ p[n - i] for i in range(1, n + 1))
        p.append(p[0] @ (p[0].mT @ (s[n].mT - known)))
    return p
