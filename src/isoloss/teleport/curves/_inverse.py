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
        moved = self.layers.inverse(torch.linalg.matrix_exp(a) @ self._activation(z))
        # Not a solve: torch (2.13) differentiates that wrongly when forward rules are nested.
        back = self._times(u, torch.linalg.matrix_exp(-a))
        return self.layers.write(back, v + (moved - z) @ torch.linalg.pinv(x))

    def derivatives(self, tensors: Tensors, order: int = 3) -> list[dict[str, Tensor]]:
        """The first derivatives at t = 0, at most three."""
        u, v, x = self._read(tensors)
        m, z, back = self.algebra.to(u), v @ x, torch.linalg.pinv(x)
        slopes = inverse_derivatives(elementwise_derivatives(self._activation, z, order))
        rows, columns = composed(slopes, powers(m, self._activation(z), order)), []
        for _ in range(order):
            u = self._times(u, -m)
            columns.append(u)
        return [self.layers.write(c, r @ back) for c, r in zip(columns, rows, strict=True)]

    def _read(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices, U without a bias: that does not move."""
        u, v, x = self.layers.read(tensors)
        taps = u.shape[1] // self.layers.width
        return u[:, : self.layers.width * taps], v, x

    def _times(self, u: Tensor, m: Tensor) -> Tensor:
        """The product U M, where a unit may be read by several columns: the taps of a convolution."""
        return torch.einsum("oht,hj->ojt", u.unflatten(1, (len(m), -1)), m).flatten(1)

    def _activation(self, z: Tensor) -> Tensor:
        activation = self.layers.elementwise
        if activation is None:
            raise ValueError(
                "InverseCurve: between the layers there must be an elementwise activation, and after it nothing but "
                f"means and flattening; got {self.layers.activation or 'what no module computes'}; choose ForwardCurve."
            )
        return activation(z.clone())
