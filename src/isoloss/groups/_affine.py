"""Affine maps: the symmetry of two affine layers that meet with nothing in between."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

from isoloss.groups._general_linear import GeneralLinear
from isoloss.groups._group import Charge, Group, is_real, normal, spread, widen
from isoloss.groups._matrix import inverse, multiply, multiply_contragredient
from isoloss.groups._principal_log import principal_log


@dataclass(frozen=True)
class Affine(Group):
    r"""The group :math:`\mathrm{Aff}(n) = GL_n(\mathbb{R}) \ltimes \mathbb{R}^n` of affine maps.

    .. math:: g = [A \mid t], \qquad g \cdot x = A x + t \; (c = 1), \qquad g \cdot x = A^{-T} x \; (c = -1)

    Charge 1 moves points (a weight's columns together with its bias); charge -1 is the contragredient of the
    linear part. As a matrix, g is :math:`[A\; t;\, 0\; 1]`, and ``exp`` and ``log`` are those of that matrix.

    References:
        Dissertation, Example 1.2.2 (the linear part, on weights and biases). The translation part is ours.
    """

    n: int

    @property
    def name(self) -> str:
        return f"Aff({self.n})"

    @property
    def dim(self) -> int:
        return self.n * (self.n + 1)

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n, self.n + 1)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.n, self.n + 1, dtype=dtype, device=device).repeat(*batch, 1, 1)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g @ self._square(h, corner=1)

    def inverse(self, g: Tensor) -> Tensor:
        return inverse(self._square(g, corner=1))[..., :-1, :].to(g.dtype)

    def exp(self, a: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(self._square(widen(a), corner=0))[..., :-1, :].to(a.dtype)

    def retract(self, a: Tensor) -> Tensor:
        """Return 1 + a, which is invertible while the spectral norm of the linear part is below 1."""
        return self.identity(dtype=a.dtype, device=a.device) + a

    def symmetric(self, a: Tensor) -> Tensor:
        """Return the symmetric part of the linear part, and all of the translation."""
        linear = a[..., :-1]
        return torch.cat([(linear + linear.mT) / 2, a[..., -1:]], -1)

    @property
    def symmetric_dim(self) -> int:
        return self.n * (self.n + 1) // 2 + self.n

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        return principal_log(self._square(g, corner=1), where=f"{self.name}.log")[..., :-1, :]

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether A is invertible, as :meth:`GeneralLinear.contains` judges it, and t finite."""
        return is_real(g, self.element_shape) and GeneralLinear(self.n).contains(
            g[..., :-1], tolerance=tolerance
        )

    def basis(self, *, dtype=None, device=None) -> Tensor:
        """Return the matrices with one entry 1, row by row."""
        return torch.eye(self.dim, dtype=dtype, device=device).reshape(self.dim, *self.element_shape)

    def dual(self, g: Tensor, y: Tensor, charge: Charge = 1) -> Tensor:
        r"""Return :math:`A^{-T} y` for charge 1, :math:`A y` for charge -1: gradients are not translated."""
        linear = torch.cat([g[..., :-1], torch.zeros_like(g[..., -1:])], -1)
        return self.act(linear, y, -charge)

    def _draw(self, batch: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        a = normal((*batch, *self.algebra_shape), generator)
        return torch.cat([a[..., :-1] / sqrt(self.n), a[..., -1:]], -1)

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        linear, t = g[..., :-1], g[..., -1]
        return multiply(linear, x) + spread(t, x) if charge == 1 else multiply_contragredient(linear, x)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        linear, t = a[..., :-1], a[..., -1]
        return multiply(linear, x) + spread(t, x) if charge == 1 else -multiply(linear.mT, x)

    def _square(self, g: Tensor, corner: int) -> Tensor:
        last = pad(g.new_full((1, 1), corner), (self.n, 0))
        return torch.cat([g, last.expand(*g.shape[:-2], 1, self.n + 1)], -2)
