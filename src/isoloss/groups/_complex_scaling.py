"""Complex scalings: the symmetry of rotary position embeddings, one factor per frequency."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, is_real, spread


@dataclass(frozen=True)
class ComplexScaling(Group):
    r"""The group :math:`(\mathbb{C}^*)^n`; an element is ``(n, 2)``, real and imaginary parts, none zero.

    .. math:: g \cdot z = g z \;\; (c = 1), \qquad g \cdot z = z / \bar g \;\; (c = -1), \qquad
        \exp(\rho, \phi) = e^{\rho + i \phi}

    It takes the last two dimensions of x, ``(*batch, *rest, 2, n)``: real and imaginary part, then frequency.
    The contragredient for the real inner product divides by the conjugate, hence phases act alike in both.

    References:
        Not in the dissertation: it commutes with rotary embeddings between queries and keys, where the
        :math:`GL_{d_k}` of Example 1.2.11 does not.
    """

    n: int
    own: ClassVar[int] = 2

    @property
    def name(self) -> str:
        return f"C*^{self.n}"

    @property
    def dim(self) -> int:
        return 2 * self.n

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n, 2)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.tensor([1.0, 0.0], dtype=dtype, device=device).repeat(*batch, self.n, 1)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return torch.stack(_product(g.unbind(-1), h.unbind(-1)), -1)

    def inverse(self, g: Tensor) -> Tensor:
        return torch.stack(_reciprocal(g.unbind(-1)), -1)

    def exp(self, a: Tensor) -> Tensor:
        """Return the factors of log modulus a[..., 0] and phase a[..., 1]."""
        rho, phi = a.unbind(-1)
        return torch.stack([rho.exp() * phi.cos(), rho.exp() * phi.sin()], -1)

    def retract(self, a: Tensor) -> Tensor:
        """Return 1 + a, a complex number with log modulus and phase as real and imaginary part."""
        return self.identity(dtype=a.dtype, device=a.device) + a

    def symmetric(self, a: Tensor) -> Tensor:
        """Return the log moduli, without the phases."""
        return torch.stack([a[..., 0], torch.zeros_like(a[..., 1])], -1)

    @property
    def symmetric_dim(self) -> int:
        return self.n

    def norm(self, a: Tensor) -> Tensor:
        """Largest modulus of the complex numbers."""
        return torch.hypot(*a.unbind(-1)).amax(-1)

    def steepest(self, a: Tensor) -> Tensor:
        """Complex numbers of modulus one, in the direction of those given."""
        size = torch.hypot(*a.unbind(-1)).unsqueeze(-1)
        noise = self.n * torch.finfo(a.dtype).eps * size.amax(-2, keepdim=True)
        return torch.where(size > noise, a / size, 0.0)

    def log(self, g: Tensor) -> Tensor:
        """Return log modulus and phase, the latter in [-pi, pi]."""
        self._check_contains("log", g)
        re, im = g.unbind(-1)
        return torch.stack([torch.hypot(re, im).log(), torch.atan2(im, re)], -1)

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether all moduli are finite and exceed ``tolerance`` (0 by default)."""
        return is_real(g, self.element_shape) and bool(
            (torch.hypot(*g.unbind(-1)) > (tolerance or 0.0)).all()
        )

    def basis(self, *, dtype=None, device=None) -> Tensor:
        """Return log modulus and phase of each coordinate in turn."""
        return torch.eye(self.dim, dtype=dtype, device=device).reshape(self.dim, self.n, 2)

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        re, im = g.unbind(-1)
        if charge == -1:
            re, im = _reciprocal((re, -im))
        return self._times(re, im, x)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        rho, phi = a.unbind(-1)
        return self._times(float(charge) * rho, phi, x)

    def _times(self, re: Tensor, im: Tensor, x: Tensor) -> Tensor:
        z = x.unbind(-2)
        return torch.stack(_product((spread(re, z[0]), spread(im, z[0])), z), -2)


def _product(z, w) -> tuple[Tensor, Tensor]:
    return z[0] * w[0] - z[1] * w[1], z[0] * w[1] + z[1] * w[0]


def _reciprocal(z) -> tuple[Tensor, Tensor]:
    squared = z[0] ** 2 + z[1] ** 2
    return z[0] / squared, -z[1] / squared
