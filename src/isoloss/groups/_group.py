"""What every group can do: compose, invert, exponentiate, draw, and act on the last axis of a tensor."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from isoloss._checks import is_size

if TYPE_CHECKING:
    from isoloss.groups._product import Product

Charge = int | float | Fraction


class Group(ABC):
    r"""A group whose elements are plain tensors, batched over any leading dimensions.

    Elements have shape ``(*batch, *element_shape)``, algebra elements ``(*batch, *algebra_shape)``. A
    *charge* picks one of the group's representations: 1 is the defining one, and where the action is linear
    ``-charge`` is the contragredient of ``charge``.

    ``act``, ``velocity``, ``compose``, ``inverse`` and ``exp`` branch on shapes only, never on values, so
    that they run under ``torch.func`` and ``torch.compile``.

    Attributes:
        n: Size of the axis the group acts on.
        own: Number of trailing dimensions of ``x`` that the group takes for itself.

    References:
        Dissertation, Definitions 1.1.1 to 1.1.3; Section 2.3.4 for the infinitesimal action.
    """

    n: int
    own: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or isinstance(self.n, bool) or self.n < 1:
            raise ValueError(
                f"{type(self).__name__}: n must be a positive integer; got {self.n!r}. "
                "Pass the size of the axis the group acts on."
            )

    @property
    @abstractmethod
    def name(self) -> str:
        """Short mathematical name, such as ``GL(64)``."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of the group as a manifold: 0 if it is discrete."""

    @property
    @abstractmethod
    def element_shape(self) -> tuple[int, ...]:
        """Shape of one element."""

    @property
    def algebra_shape(self) -> tuple[int, ...]:
        """Shape of one element of the Lie algebra."""
        return self.element_shape

    @abstractmethod
    def identity(
        self,
        batch: tuple[int, ...] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return a batch of identity elements."""

    @abstractmethod
    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Return g after h: ``act(compose(g, h), x) == act(g, act(h, x))``."""

    @abstractmethod
    def inverse(self, g: Tensor) -> Tensor:
        """Return the element that undoes g."""

    @abstractmethod
    def exp(self, a: Tensor) -> Tensor:
        """Return the element reached from the identity after unit time along the algebra element a."""

    @abstractmethod
    def log(self, g: Tensor) -> Tensor:
        """Return the algebra element a with ``exp(a) == g``.

        Raises:
            ValueError: If g is no element, or lies outside the image of ``exp``.
        """

    def retract(self, a: Tensor) -> Tensor:
        """Return an element that agrees with ``exp(a)`` to first order in a, for less work; a must be small.

        Elements that depend on a to first order, :math:`1 + a`, are what the published algorithms use; where they
        are none of the group, another retraction stands in.

        References:
            Dissertation, Algorithm 2 and section 4.6.
        """
        return self.exp(a)

    def project(self, a: Tensor) -> Tensor:
        """Return the algebra element nearest to an array of ``algebra_shape``, in the Frobenius norm."""
        return a.clone()

    def symmetric(self, a: Tensor) -> Tensor:
        r"""Return the part of an algebra element that acts by symmetric matrices, translations included.

        What remains acts by antisymmetric ones. Along a symmetric part :math:`x \mapsto \dot x` is a gradient field,
        which is what a conserved quantity of gradient flow needs.

        References:
            Dissertation, Proposition 2.5.1 and the table below it.
        """
        return self.project((a + a.mT) / 2) if len(self.algebra_shape) == 2 else a.clone()

    @property
    def symmetric_dim(self) -> int:
        """Dimension of the space of symmetric parts."""
        return self.dim if len(self.algebra_shape) == 1 else self.n * (self.n + 1) // 2

    def norm(self, a: Tensor) -> Tensor:
        """Spectral norm of algebra elements, shape ``(*batch,)``; of numbers one by one, their largest modulus.

        It is subadditive along a path: the singular values of exp(a_1) ... exp(a_k) lie within exp(+-sum of norms).
        """
        if 0 in a.shape:
            return a.new_zeros(a.shape[: a.dim() - len(self.algebra_shape)])
        return (
            a.abs().amax(-1) if len(self.algebra_shape) == 1 else torch.linalg.matrix_norm(widen(a), 2).to(a)
        )

    def steepest(self, a: Tensor) -> Tensor:
        r"""The element s of the algebra of norm 1 with the largest inner product with a: the dual norm is attained.

        For numbers one by one their signs, for matrices the polar factor :math:`U V^T`. Directions in which a is
        rounding, below :math:`n \epsilon` of the largest, stay zero. The rows of a batch are alike in this.
        """
        if 0 in a.shape:
            return a.clone()
        if len(self.algebra_shape) == 1:
            return torch.where(_above_rounding(a, (-1,)), a.sign(), 0.0)
        u, s, v = torch.linalg.svd(widen(a), full_matrices=False)
        return ((u * _above_rounding(s, (-1,)).to(u).unsqueeze(-2)) @ v).to(a)

    def sample(
        self,
        batch: tuple[int, ...] = (),
        *,
        scale: float = 0.5,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw elements ``exp(a)`` for a Gaussian a; they lie in the component of the identity.

        The numbers are drawn in float64 on the generator's device (the CPU without one), then cast: a seed
        gives the same element, up to rounding, on every device and in every dtype.

        Args:
            batch: Shape of the batch of elements.
            scale: Standard deviation of the entries of a; matrices divide it by sqrt(n), rotations do not.
            generator: Source of the random numbers; the global one if it is None.
            dtype: Of the elements; the default dtype if it is None.
            device: Of the elements; the default device if it is None.

        Raises:
            ValueError: If scale is negative or not finite.
        """
        check_scale(scale, f"{self.name}.sample")
        a = scale * self._draw(batch, generator)
        return self.exp(a.to(device or torch.get_default_device(), dtype or torch.get_default_dtype()))

    def _draw(self, batch: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        return normal((*batch, *self.algebra_shape), generator)

    @abstractmethod
    def contains(self, g: Tensor, *, tolerance: float | None = None) -> bool:
        """Whether every element of the batch lies in the group, up to ``tolerance`` (default: rounding)."""

    @abstractmethod
    def basis(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
        """Return a basis of the Lie algebra, of shape ``(dim, *algebra_shape)``."""

    def act(self, g: Tensor, x: Tensor, charge: Charge = 1) -> Tensor:
        """Move x by g in the representation that ``charge`` names.

        Args:
            g: Elements, ``(*batch, *element_shape)``.
            x: What is moved, ``(*batch, *rest, n)``: g acts on the last axis, and on all of ``rest`` alike.
                Batch dimensions broadcast.
            charge: The representation; see the group.

        Returns:
            The moved x, a new tensor, computed in the wider of the two dtypes and returned in that of x.

        Raises:
            ValueError: If the shapes do not fit, or the group has no such charge.
        """
        self._check_fit("act", g, self.element_shape, x)
        return _in_wider_dtype(lambda g, x: self._act(g, x, charge), g, x)

    def velocity(self, a: Tensor, x: Tensor, charge: Charge = 1) -> Tensor:
        r"""Derivative of ``act(exp(t * a), x, charge)`` at ``t = 0``, shaped like x (dissertation Eq. (2.5)).

        Args:
            a: Algebra elements, ``(*batch, *algebra_shape)``.
            x: The point, ``(*batch, *rest, n)``.
            charge: The representation, as in :meth:`act`.

        Raises:
            ValueError: If the shapes do not fit, or the group has no such charge.
        """
        self._check_fit("velocity", a, self.algebra_shape, x)
        return _in_wider_dtype(lambda a, x: self._velocity(a, x, charge), a, x)

    def dual(self, g: Tensor, y: Tensor, charge: Charge = 1) -> Tensor:
        r"""Move a gradient y with respect to the x that ``act(g, x, charge)`` moves.

        .. math:: \langle \mathrm{dual}(g, y),\; g \cdot x - g \cdot x' \rangle = \langle y, x - x' \rangle

        This is ``act(g, y, -charge)`` for a linear action; translations leave gradients alone.
        """
        return self.act(g, y, -charge)

    @abstractmethod
    def _act(self, g: Tensor, x: Tensor, charge: Charge) -> Tensor: ...

    @abstractmethod
    def _velocity(self, a: Tensor, x: Tensor, charge: Charge) -> Tensor: ...

    def __mul__(self, other: "Group") -> "Product":
        """Return the direct product of two groups."""
        from isoloss.groups._product import Product

        return Product((self, other))

    def _check_fit(self, where: str, g: Tensor, shape: tuple[int, ...], x: Tensor) -> None:
        batch = g.dim() - len(shape)
        axis = (2,) * (self.own - 1) + (self.n,)
        fits = (
            tuple(g.shape[max(batch, 0) :]) == shape
            and x.dim() >= batch + self.own
            and tuple(x.shape[-self.own :]) == axis
            and all(s == t or 1 in (s, t) for s, t in zip(g.shape[: max(batch, 0)], x.shape, strict=False))
        )
        if not fits:
            own, last = ", ".join(map(str, shape)), ", ".join(map(str, axis))
            raise ValueError(
                f"{self.name}.{where}: shapes must be (*batch, {own}) and (*batch, *rest, {last}); "
                f"got {tuple(g.shape)} and {tuple(x.shape)}. Move the axis last: x.movedim(axis, -1)."
            )

    def _check_unit_charge(self, charge: Charge) -> None:
        if charge not in (1, -1):
            raise ValueError(
                f"{self.name}: charge must be 1 or -1; got {charge}. Act with compose(g, g) for a square."
            )

    def _check_contains(self, where: str, g: Tensor) -> None:
        if not self.contains(g):
            raise ValueError(
                f"{self.name}.{where}: g must be an element of the group; "
                f"got {tuple(g.shape)} {g.dtype} with values {excerpt(g)}. "
                f"Ask {self.name}.contains(g) beforehand."
            )


def check_scale(scale: float, where: str) -> None:
    """Refuse a standard deviation that is none."""
    if not is_size(scale) or not isfinite(scale):
        raise ValueError(
            f"{where}: scale must be a finite number that is not negative; got {scale!r}; "
            "it is the standard deviation of the algebra element, 0.5 by default."
        )


def normal(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Draw standard normal float64 numbers on the generator's device, the CPU without one."""
    device = generator.device if generator else torch.device("cpu")
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=device)


def spread(g: Tensor, x: Tensor) -> Tensor:
    """Give g ``(*batch, n)`` the dimensions of x ``(*batch, *rest, n)``, of size one along rest."""
    return g.reshape(*g.shape[:-1], *(1,) * (x.dim() - g.dim()), g.shape[-1])


def widen(x: Tensor) -> Tensor:
    """Cast half precision to float32, where torch has linear solves and exponentials; keep all else."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _above_rounding(a: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Which entries are more than rounding of the largest along the dimensions."""
    size = a.abs()
    return size > a.shape[-1] * torch.finfo(a.dtype).eps * size.amax(dims, keepdim=True)


def is_real(g: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether g holds finite floating-point numbers and ends in the given shape."""
    fits = g.is_floating_point() and g.dim() >= len(shape) and tuple(g.shape[g.dim() - len(shape) :]) == shape
    return bool(fits and g.isfinite().all())


def _in_wider_dtype(move: Callable[[Tensor, Tensor], Tensor], g: Tensor, x: Tensor) -> Tensor:
    if not g.is_floating_point():  # indices: they do not take part in promotion
        return move(g, x)
    wide = torch.promote_types(g.dtype, x.dtype)
    moved = move(g.to(wide), x.to(wide))
    return moved.to(x.dtype) if x.is_floating_point() else moved


def excerpt(g: Tensor) -> str:
    """The first values of g, for an error message."""
    values = ", ".join(f"{v:.4g}" for v in g.flatten()[:6].tolist())
    return f"[{values}{', ...' if g.numel() > 6 else ''}]"
