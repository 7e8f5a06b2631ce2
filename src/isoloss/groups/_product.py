"""The direct product of groups: tuples, factor by factor."""

# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# (elements are tuples here, tensors in all other groups)
# ruff: noqa: D102 (Group documents the methods)
from dataclasses import dataclass

import torch
from torch import Tensor

from isoloss.groups._group import Group


@dataclass(frozen=True)
class Product(Group):
    r"""The direct product :math:`G_1 \times \dots \times G_k`; an element is a tuple of elements.

    .. math:: (g_1, \dots, g_k) \cdot (x_1, \dots, x_k) = (g_1 \cdot x_1, \dots, g_k \cdot x_k)

    Factors may be products themselves; elements, points and charges then nest alike. One charge serves all
    factors, a tuple gives each its own.

    Args:
        groups: The factors; ``G * H`` is ``Product((G, H))``.

    References:
        Dissertation, Section 1.2.1: a network inherits the symmetries of all its subnetworks.
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        if not (
            isinstance(self.groups, tuple) and self.groups and all(isinstance(g, Group) for g in self.groups)
        ):
            raise ValueError(
                f"Product: groups must be a tuple of at least one group; got {self.groups!r}. "
                "Write Product((G, H)), or G * H."
            )

    @property
    def n(self) -> int:
        """Sum of the sizes of the axes."""
        return sum(group.n for group in self.groups)

    @property
    def name(self) -> str:
        return " x ".join(f"({g.name})" if isinstance(g, Product) else g.name for g in self.groups)

    @property
    def dim(self) -> int:
        return sum(group.dim for group in self.groups)

    @property
    def element_shape(self) -> tuple:
        return tuple(group.element_shape for group in self.groups)

    @property
    def algebra_shape(self) -> tuple:
        return tuple(group.algebra_shape for group in self.groups)

    def identity(self, batch=(), *, dtype=None, device=None) -> tuple:
        return tuple(group.identity(batch, dtype=dtype, device=device) for group in self.groups)

    def compose(self, g: tuple, h: tuple) -> tuple:
        return self._each("compose", g, h)

    def inverse(self, g: tuple) -> tuple:
        return self._each("inverse", g)

    def exp(self, a: tuple) -> tuple:
        return self._each("exp", a)

    def retract(self, a: tuple) -> tuple:
        return self._each("retract", a)

    def project(self, a: tuple) -> tuple:
        return self._each("project", a)

    def symmetric(self, a: tuple) -> tuple:
        return self._each("symmetric", a)

    @property
    def symmetric_dim(self) -> int:
        return sum(group.symmetric_dim for group in self.groups)

    def steepest(self, a: tuple) -> tuple:
        return self._each("steepest", a)

    def norm(self, a: tuple) -> Tensor:
        return torch.stack(self._each("norm", a)).amax(0)

    def log(self, g: tuple) -> tuple:
        return self._each("log", g)

    def sample(self, batch=(), *, scale=0.5, generator=None, dtype=None, device=None) -> tuple:
        options = {"scale": scale, "generator": generator, "dtype": dtype, "device": device}
        return tuple(group.sample(batch, **options) for group in self.groups)

    def contains(self, g: tuple, *, tolerance: float | None = None) -> bool:
        if not isinstance(g, tuple) or len(g) != len(self.groups):
            return False
        return all(group.contains(gi, tolerance=tolerance) for group, gi in zip(self.groups, g, strict=True))

    def basis(self, *, dtype=None, device=None) -> tuple:
        """Return ``dim`` tuples as a batch: the basis of each factor in turn, beside zeros in the others."""
        bases = [group.basis(dtype=dtype, device=device) for group in self.groups]
        before = 0
        padded = []
        for group, basis in zip(self.groups, bases, strict=True):
            padded.append(_pad(basis, before, self.dim - before - group.dim))
            before += group.dim
        return tuple(padded)

    def act(self, g: tuple, x: tuple, charge=1) -> tuple:
        return self._act(g, x, charge)

    def velocity(self, a: tuple, x: tuple, charge=1) -> tuple:
        return self._velocity(a, x, charge)

    def dual(self, g: tuple, y: tuple, charge=1) -> tuple:
        return self._each("dual", g, y, self._charges(charge))

    def _act(self, g: tuple, x: tuple, charge) -> tuple:
        return self._each("act", g, x, self._charges(charge))

    def _velocity(self, a: tuple, x: tuple, charge) -> tuple:
        return self._each("velocity", a, x, self._charges(charge))

    def _charges(self, charge) -> tuple:
        return charge if isinstance(charge, tuple) else (charge,) * len(self.groups)

    def _each(self, method: str, *arguments: tuple) -> tuple:
        """Call a method of every factor, with its entry of each argument."""
        for argument in arguments:
            if not isinstance(argument, tuple) or len(argument) != len(self.groups):
                got = f"{len(argument)} of them" if isinstance(argument, tuple) else type(argument).__name__
                raise ValueError(
                    f"{self.name}.{method}: elements, points and charges must be tuples of "
                    f"{len(self.groups)}; got {got}. Nest them as the factors nest."
                )
        rows = zip(self.groups, *arguments, strict=True)
        return tuple(getattr(group, method)(*entries) for group, *entries in rows)


def _pad(basis, before: int, after: int):
    """Put zeros before and after a basis, which is a tensor or a nested tuple of them."""
    if isinstance(basis, tuple):
        return tuple(_pad(b, before, after) for b in basis)
    zeros = [basis.new_zeros(k, *basis.shape[1:]) for k in (before, after)]
    return torch.cat([zeros[0], basis, zeros[1]])
