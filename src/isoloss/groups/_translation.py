"""Translations: the symmetry of softmax, and of biases that a later layer absorbs."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, is_real, spread


@dataclass(frozen=True)
class Translation(Group):
    r"""The additive group :math:`(\mathbb{R}^n, +)`.

    .. math:: g \cdot x = x + c\, g, \qquad \exp(a) = a, \qquad \dot x = c\, a

    The charge c is any number. The action is affine, not linear: gradients do not move, and ``dual`` says so.

    References:
        Dissertation, Example 1.2.8, Table 1.1.
    """

    n: int

    @property
    def name(self) -> str:
        return f"R^{self.n}"

    @property
    def dim(self) -> int:
        return self.n

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n,)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.zeros(*batch, self.n, dtype=dtype, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g + h

    def inverse(self, g: Tensor) -> Tensor:
        return -g

    def exp(self, a: Tensor) -> Tensor:
        return a.clone()

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        return g.clone()

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether all entries are finite; ``tolerance`` is ignored."""
        return is_real(g, self.element_shape)

    def basis(self, *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.n, dtype=dtype, device=device)

    def dual(self, g: Tensor, y: Tensor, charge: Charge = 1) -> Tensor:
        """Return y: a gradient is the same at both ends of a translation."""
        self._check_fit("dual", g, self.element_shape, y)
        return y.clone()

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        return x + float(charge) * spread(g, x)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        return torch.zeros_like(x) + float(charge) * spread(a, x)
