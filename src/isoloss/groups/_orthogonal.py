"""Rotations and reflections: the symmetry of radial activations, and of residual streams under RMSNorm."""

# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from isoloss.groups._group import Charge, Group, is_real, normal, widen
from isoloss.groups._matrix import multiply
from isoloss.groups._rotation_log import rotation_log


@dataclass(frozen=True)
class Orthogonal(Group):
    r"""The group :math:`O(n)`, or the stabilizer in it of the vector of ones, a copy of :math:`O(n-1)`.

    .. math:: g \cdot x = g x, \qquad g^T g = 1, \qquad \dot x = a x, \qquad a^T = -a

    Orthogonal matrices are their own contragredients: charges 1 and -1 act alike. LayerNorm subtracts the
    mean, hence only the rotations that fix the ones pass through it. ``exp`` and ``sample`` reach the
    rotations, of determinant 1; ``log`` of a reflection is an error.

    Args:
        n: Size of the axis.
        fixes_ones: Keep only the elements with ``g @ ones == ones``.

    References:
        Dissertation, Example 1.2.6, Table 1.1, Example 2.5.5 (the basis of the algebra).
    """

    n: int
    fixes_ones: bool = False

    @property
    def name(self) -> str:
        return f"O({self.n}; 1)" if self.fixes_ones else f"O({self.n})"

    @property
    def dim(self) -> int:
        planes = self.n - 1 if self.fixes_ones else self.n
        return planes * (planes - 1) // 2

    @property
    def element_shape(self) -> tuple[int, ...]:
        return (self.n, self.n)

    def identity(self, batch=(), *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.n, dtype=dtype, device=device).repeat(*batch, 1, 1)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        return g.mT.clone()

    def exp(self, a: Tensor) -> Tensor:
        """Matrix exponential of an antisymmetric a, with its rounding errors pushed back into the group."""
        g = torch.linalg.matrix_exp(widen(a))
        # One Newton step for the polar factor: it squares the distance to O(n), which grows like |a| eps.
        return (g @ (3 * self.identity(dtype=g.dtype, device=g.device) - g.mT @ g) / 2).to(a.dtype)

    def retract(self, a: Tensor) -> Tensor:
        r"""Return the Cayley transform :math:`(1 - a/2)^{-1} (1 + a/2)`, for 1 + a is no rotation."""
        eye = self.identity(dtype=widen(a).dtype, device=a.device)
        return torch.linalg.solve(eye - widen(a) / 2, eye + widen(a) / 2).to(a.dtype)

    def project(self, a: Tensor) -> Tensor:
        """Return the antisymmetric part, with rows and columns that sum to zero if the ones are fixed."""
        a = (a - a.mT) / 2
        if self.fixes_ones:
            a = a - a.mean(-1, keepdim=True)
            a = a - a.mean(-2, keepdim=True)
        return a

    @property
    def symmetric_dim(self) -> int:
        return 0

    def log(self, g: Tensor) -> Tensor:
        self._check_contains("log", g)
        determinants = torch.linalg.det(widen(g))
        if (determinants < 0).any():
            raise ValueError(
                f"{self.name}.log: g must be a rotation, determinant 1; got a determinant of "
                f"{determinants.min():.4g}. Split off a reflection: compose g with diag(-1, 1, ..., 1)."
            )
        return rotation_log(g)

    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether no entry of :math:`g g^T - 1` (and of :math:`g 1 - 1`) exceeds ``tolerance``.

        By default 8 sqrt(n) eps: rounding g moves these entries by at most eps (Cauchy-Schwarz; sqrt(n) eps
        for the ones), a product by some sqrt(n) eps (n roundings of random sign), and eight products in a row
        may pass.
        """
        if not is_real(g, self.element_shape):
            return False
        if tolerance is None:
            tolerance = 8 * sqrt(self.n) * torch.finfo(g.dtype).eps
        g = g.double()
        defect = g @ g.mT - torch.eye(self.n, dtype=g.dtype, device=g.device)
        if self.fixes_ones:
            defect = torch.cat([defect, g.sum(-1, keepdim=True) - 1], -1)
        return bool((defect.abs() <= tolerance).all())

    def basis(self, *, dtype=None, device=None) -> Tensor:
        r"""Return :math:`E_{ij} - E_{ji}` for i < j, in a basis orthogonal to the ones if these are fixed."""
        frame = _orthogonal_to_ones(self.n) if self.fixes_ones else torch.eye(self.n, dtype=torch.float64)
        i, j = torch.triu_indices(frame.shape[-1], frame.shape[-1], offset=1)
        wedge = frame.T[i, :, None] * frame.T[j, None, :]
        return (wedge - wedge.mT).to(device or torch.get_default_device(), dtype or torch.get_default_dtype())

    def _draw(self, batch: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return sqrt(2) * self.project(normal((*batch, self.n, self.n), generator))

    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        return multiply(g, x)

    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor:
        self._check_unit_charge(charge)
        return multiply(a, x)


def _orthogonal_to_ones(n: int) -> Tensor:
    """Orthonormal columns ``(n, n - 1)`` orthogonal to the ones: Helmert's (1, ..., 1, -k, 0, ...)."""
    k = torch.arange(1, n, dtype=torch.float64)
    columns = torch.ones(n, n - 1, dtype=torch.float64).triu() - torch.diag_embed(k, offset=-1)[:, : n - 1]
    return columns / (k * (k + 1)).sqrt()
