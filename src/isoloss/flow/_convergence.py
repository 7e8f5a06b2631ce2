"""How fast two layers with a radial activation converge, as a function of what the flow conserves."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RadialFactorization:
    r"""The problem of Proposition 2.7.2: factors of a matrix, with an activation that inverts norms.

    .. math:: L(U, V) = \tfrac12 \lVert Y - U g(V^T) \rVert_F^2, \qquad g(W)_i = W_i / \lVert W_i \rVert^2

    From a spectral initialization :math:`U = \Phi \bar U, V = \Psi \bar V` with
    :math:`Y = \Phi \Sigma \Psi^T` the flow stays spectral, and each singular value goes its own way.

    Attributes:
        target: Y, shape (m, n).

    References:
        Dissertation, Eqs. (2.25), (2.26) and Proposition 2.7.2.
    """

    target: Tensor

    def start(self, outgoing: Tensor, incoming: Tensor) -> dict[str, Tensor]:
        """Parameters U (m, h) and V (n, h) with the diagonals given, in the singular basis of the target.

        Args:
            outgoing: The diagonal of U in that basis, shape (h,) with h at most min(m, n).
            incoming: The diagonal of V, none of it zero.

        Raises:
            ValueError: If the diagonals do not fit, or one of V is zero.
        """
        h = len(outgoing)
        if outgoing.shape != incoming.shape or h > min(self.target.shape) or not bool((incoming != 0).all()):
            raise ValueError(
                f"RadialFactorization: diagonals must be two vectors of at most {min(self.target.shape)} numbers, "
                f"those of V not zero; got shapes {tuple(outgoing.shape)} and {tuple(incoming.shape)}."
            )
        phi, _, psi = torch.linalg.svd(self.target, full_matrices=False)
        return {"U": phi[:, :h] * outgoing, "V": psi[:h].mT * incoming}

    def product(self, params: Mapping[str, Tensor]) -> Tensor:
        r"""The matrix :math:`X = U g(V^T)`."""
        v = params["V"]
        return params["U"] @ (v / v.square().sum(0)).mT

    def loss(self, params: Mapping[str, Tensor]) -> Tensor:
        """Half of the squared distance to the target."""
        return (self.target - self.product(params)).square().sum() / 2

    def singular_values(self, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of the product and of the target, in the singular basis of the target, shape (h,) each."""
        h = params["U"].shape[1]
        phi, sigma, psi = torch.linalg.svd(self.target, full_matrices=False)
        return (phi.mT @ self.product(params) @ psi.mT).diagonal()[:h], sigma[:h]

    @staticmethod
    def conserved(params: Mapping[str, Tensor]) -> Tensor:
        r"""The conserved quantities :math:`\lambda_i = \lVert U_i \rVert^2 + \lVert V_i \rVert^2`, shape (h,)."""
        return params["U"].square().sum(0) + params["V"].square().sum(0)


def convergence_rate(value: Tensor, target: Tensor, conserved: Tensor) -> Tensor:
    r"""The velocity of a singular value of a `RadialFactorization` under gradient flow.

    .. math:: \dot\sigma_i = \frac{1}{\lambda_i} (\sigma_i^Y - \sigma_i) (\sigma_i^2 + 1)^2

    Args:
        value: The singular values :math:`\sigma_i` of the product.
        target: Those of the target.
        conserved: The conserved quantities :math:`\lambda_i`.

    References:
        Dissertation, Proposition 2.7.2.
    """
    return (target - value) * (value.square() + 1).square() / conserved


def convergence_bound(value: Tensor, target: Tensor, conserved: Tensor, t: Tensor | float) -> Tensor:
    r"""A bound on the distance of a singular value to its target after time t.

    .. math:: \lvert \sigma_i(t) - \sigma_i^Y \rvert \le \lvert \sigma_i(0) - \sigma_i^Y \rvert\, e^{-t / \lambda_i}

    Small conserved quantities make it fast.

    Args:
        value: The singular values at time 0.
        target: Those of the target.
        conserved: The conserved quantities.
        t: The time; broadcasts.

    References:
        Dissertation, Proposition 2.7.3. The inequality (2.46) in its proof holds for :math:`\sigma_i < \sigma_i^Y` only
        and turns round above; the bound itself holds on both sides.
    """
    return (value - target).abs() * torch.exp(-t / conserved)
