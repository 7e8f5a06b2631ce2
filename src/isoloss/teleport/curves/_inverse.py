"""The curve of data-dependent action 1, in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.teleport.curves._elementwise import composed, elementwise_derivatives, inverse_derivatives
from isoloss.teleport.curves._layers import LayerPair, powers

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
        u, v, x = self._read(tensors)
        a, z = t * self.algebra.to(u), v @ x
        moved = self.layers.inverse(torch.linalg.matrix_exp(a) @ self.layers.activation(z))
        # Not a solve: torch (2.13) differentiates that wrongly when forward rules are nested.
        return self.layers.write(u @ torch.linalg.matrix_exp(-a), v + (moved - z) @ torch.linalg.pinv(x))

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0, at most three."""
        u, v, x = self._read(tensors)
        m, z, back = self.algebra.to(u), v @ x, torch.linalg.pinv(x)
        slopes = inverse_derivatives(elementwise_derivatives(self.layers.activation, z, order))
        rows = composed(slopes, powers(m, self.layers.activation(z), order))
        columns = [p.mT for p in powers(-m.mT, u.mT, order)]
        return [self.layers.write(c, r @ back) for c, r in zip(columns, rows, strict=True)]

    def _read(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices, U without a bias: that does not move."""
        u, v, x = self.layers.read(tensors)
        return u[:, : self.layers.width], v, x
