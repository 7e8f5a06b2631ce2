"""Positive diagonal matrices: the symmetry of homogeneous activations and of normalization layers."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, is_real, spread


@dataclass(frozen=True)
class PositiveScaling(Group):
    r"""The group :math:`\mathbb{R}_{>0}^n` of positive rescalings, one factor per coordinate.

    .. math:: g \cdot x = g^c \odot x, \qquad \exp(a) = e^a, \qquad \dot x = c\, a \odot x

    The charge c is any number: an activation that is homogeneous of degree alpha gives charge 1 to the
    weights before it and -alpha to those after it. Factors that are powers of two do not round.

    References:
        Dissertation, Examples 1.2.4 and 1.2.7, Table 1.1, Example 2.3.5.
    """

    n: int

    @property
    def name(self) -> str:
        return f"R+^{self.n}"

    @property
    def dim(self) -> int:
        return self.n

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.ones(*batch, self.n, dtype=dtype, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g * h

    def inverse(self, g: Tensor) -> Tensor:
        return 1 / g

    def exp(self, a: Tensor) -> Tensor:
        return a.exp()

    def retract(self, a: Tensor) -> Tensor:
        """Return 1 + a, which is positive while no entry of a is -1 or less."""
        return 1 + a

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        return g.log()

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether all factors are finite and exceed ``tolerance`` (0 by default)."""
        return is_real(g, self.element_shape) and bool((g > (tolerance or 0.0)).all())

    def basis(self, *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.n, dtype=dtype, device=device)

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        return x * spread(g, x) ** float(charge)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        return float(charge) * spread(a, x) * x
