"""Invertible matrices: the symmetry of two linear maps that meet, in linear networks, attention and LoRA."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, is_real, normal, widen
from isoloss.groups._matrix import inverse, multiply, multiply_contragredient
from isoloss.groups._principal_log import principal_log


@dataclass(frozen=True)
class GeneralLinear(Group):
    r"""The group :math:`GL_n(\mathbb{R})` of invertible matrices.

    .. math::
        g \cdot x &= g x,      & \dot x &= a x    && (c = 1) \\
        g \cdot x &= g^{-T} x, & \dot x &= -a^T x && (c = -1)

    The rows of the weight after the meeting point have charge -1: they become the rows of
    :math:`W_2 g^{-1}`, with a relative error that grows like eps * cond(g). ``sample`` stays in the component
    of positive determinant; ``log`` is the principal one.

    References:
        Dissertation, Examples 1.2.2, 1.2.11 to 1.2.13, Table 1.1. Differs: we solve instead of inverting.
    """

    n: int

    @property
    def name(self) -> str:
        return f"GL({self.n})"

    @property
    def dim(self) -> int:
        return self.n**2

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n, self.n)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.n, dtype=dtype, device=device).repeat(*batch, 1, 1)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        return inverse(g).to(g.dtype)

    def exp(self, a: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(widen(a)).to(a.dtype)

    def retract(self, a: Tensor) -> Tensor:
        """Return 1 + a, which is invertible while the spectral norm of a is below 1."""
        return self.identity(dtype=a.dtype, device=a.device) + a

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        return principal_log(g, where=f"{self.name}.log")

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether the smallest singular value exceeds ``tolerance`` (n eps by default) times the largest."""
        if not is_real(g, self.element_shape):
            return False
        g = widen(g)
        if tolerance is None:
            tolerance = self.n * torch.finfo(g.dtype).eps
        singular = torch.linalg.svdvals(g)
        return bool((singular[..., -1] > tolerance * singular[..., 0]).all())

    def basis(self, *, dtype=None, device=None) -> Tensor:
        """Return the matrices :math:`E_{ij}` with one entry 1, row by row."""
        return torch.eye(self.dim, dtype=dtype, device=device).reshape(self.dim, self.n, self.n)

    def _draw(self, batch: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return normal((*batch, self.n, self.n), generator) / sqrt(self.n)

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        return multiply(g, x) if charge == 1 else multiply_contragredient(g, x)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        return multiply(a, x) if charge == 1 else -multiply(a.mT, x)
