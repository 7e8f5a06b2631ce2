"""A Symmetry: a group, and the parameter blocks that it moves together without changing the network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor

from isoloss.groups import Affine, Group, Permutation, PositiveScaling, SignFlip, Translation
from isoloss.groups._group import check_scale
from isoloss.symmetry._block import transformed
from isoloss.symmetry._slot import Shift, Slot

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Symmetry:
    """A group that acts on some parameters of a network and leaves what it computes unchanged.

    An element is a tensor of shape (*batch, *group.element_shape): one group element for every index of the
    batch, for instance one invertible matrix per attention head.

    Attributes:
        group: What one element is.
        slots: The blocks that move, each with the representation by which it moves.
        batch: Sizes of the axes along which the element may differ.
        family: What kind of symmetry this is, in the words of the catalogue.
        exact: False if the function changes by a term of the size of a norm's eps.
        error: Largest relative change of the outputs seen when it was verified, float64; None if it was not.
    """

    group: Group
    slots: tuple[Slot | Shift, ...]
    batch: tuple[int, ...] = ()
    family: str = ""
    exact: bool = True
    error: float | None = None

    @property
    def dim(self) -> int:
        """Continuous dimension of the group, over the whole batch."""
        return prod(self.batch) * self.group.dim

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters and buffers that move, in order of appearance."""
        return tuple(dict.fromkeys(slot.parameter for slot in self.slots))

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the parameters that the action reads: norm weights, weights that a bias passes through."""
        return tuple(dict.fromkeys(name for slot in self.slots for name in slot.reads))

    @property
    def linear(self) -> bool:
        """Is the derivative of the action the same at every point?"""
        return all(slot.linear for slot in self.slots)

    @property
    def whole(self) -> bool:
        """Does it move its parameters by a rule of its own, all together, instead of slot by slot?"""
        return False

    @property
    def dimensionless(self) -> bool:
        """Is the size of an algebra element a number without unit? Of a translation it has that of a parameter."""
        return not isinstance(self.group, Translation | Affine)

    @property
    def holds(self) -> str:
        """How well the function is kept, in two words at most."""
        return "exactly" if self.exact else "up to eps"

    def signature(self) -> list[Any]:
        """What tells it from others, as lists of texts: the group, and all that slots hold, charges and blocks too."""
        return [self.name, *(asdict(slot, dict_factory=_plain) for slot in self.slots)]

    def identity(self, **options) -> Tensor:
        """The element that moves nothing, shape (*batch, *group.element_shape)."""
        return self.group.identity(self.batch, **options)

    def sample(self, scale: float = 0.5, generator: torch.Generator | None = None, **options) -> Tensor:
        """A random element; scale is the size of its algebra element, and is ignored by discrete groups.

        Raises:
            ValueError: If scale is negative or not finite.
        """
        check_scale(scale, f"{self.name}.sample")
        return self.group.sample(self.batch, scale=scale, generator=generator, **options)

    def act(self, g: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that g moves, as new tensors; those given are left as they are.

        Args:
            g: Element, shape (*batch, *group.element_shape).
            tensors: Named parameters and buffers; at least `parameters` and `reads`.

        Returns:
            A new tensor for each name in `parameters`.
        """
        return self._each(
            tensors, tensors, lambda slot, x: slot.moved(self.group, self._like(g, x), x, tensors)
        )

    @torch.no_grad()
    def act_(self, g: Tensor, tensors: Tensors) -> None:
        """Move the tensors themselves, a piece at a time, so that nothing large is copied.

        Not atomic: what fails in between leaves some moved. For a model there is `Symmetries.act_`.

        Args:
            g: Element, shape (*batch, *group.element_shape).
            tensors: Named parameters and buffers; those in `parameters` are written to.
        """
        kept = {n: tensors[n].clone() for n in self.reads if n in self.parameters}
        before = {**tensors, **kept}
        for slot in self.slots:
            x = slot.block.view(tensors[slot.parameter])
            for piece in slot.pieces(x):
                piece.copy_(slot.moved(self.group, self._like(g, piece), piece, before))

    def generator(self, a: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """Velocity of the orbit through the tensors along the algebra element a, by name.

        The derivative of act(exp(t a)) at t = 0; shapes are those of the parameters.
        """
        velocity = {name: torch.zeros_like(tensors[name]) for name in self.parameters}
        for slot in self.slots:
            x = slot.block.view(tensors[slot.parameter])
            v = slot.velocity(self.group, self._like(a, x), x, tensors)
            target = slot.block.view(velocity[slot.parameter])
            target.copy_(target + v)
        return velocity

    def moment(self, gradients: Tensors, tensors: Tensors) -> Tensor:
        r"""The slope of a function along the orbit, as an algebra element; the adjoint of `generator`.

        .. math:: \langle \mathrm{moment}(\nabla f, w),\; a \rangle = \langle \nabla f,\; a \cdot w \rangle

        So one gradient with respect to the parameters gives the derivatives along all directions of the algebra at
        once, for the price of a matrix product: for GL the Gram matrix :math:`\nabla f\, w^T`. At the loss itself it
        is zero.

        Args:
            gradients: Gradients of the function by name; names that are absent count as zero.
            tensors: The parameters; at least `parameters` and `reads`.

        Returns:
            Shape (*batch, *group.algebra_shape), in float32 at least; the nearest element of the algebra.

        References:
            Dissertation, Eq. (2.5): the infinitesimal action. The name is that of symplectic geometry.
        """
        first = tensors[self.parameters[0]]
        dtype = torch.promote_types(torch.float32, first.dtype)
        with torch.enable_grad():
            shape = (*self.batch, *self.group.algebra_shape)
            a = torch.zeros(shape, dtype=dtype, device=first.device, requires_grad=True)
            slope = a.sum() * 0.0
            for slot in self.slots:
                if slot.parameter in gradients:
                    x, y = (
                        slot.block.view(t[slot.parameter].detach()).to(a.dtype) for t in (tensors, gradients)
                    )
                    velocity = slot.velocity(self.group, self._like(a, x), x, tensors)
                    slope = slope + (y * velocity).sum().to(a.device)
            (found,) = torch.autograd.grad(slope, a)
        return self.group.project(found)

    def transport(self, g: Tensor, gradients: Tensors, tensors: Tensors | None = None) -> dict[str, Tensor]:
        r"""Gradients at the moved point from those at this one, without a forward or a backward pass.

        .. math:: \nabla L(g w) = J^{-T} \nabla L(w), \quad J = \partial (g w) / \partial w

        Linear actions move the gradient by the contragredient representation. Others (a translation that
        passes through a weight, a rotation folded through a norm's weight) differentiate the inverse action.

        Args:
            g: Element, shape (*batch, *group.element_shape).
            gradients: Gradients by name; names that are absent stay absent.
            tensors: The parameters before the move; needed only if `linear` is false.

        Returns:
            New gradients for those given that change.

        Raises:
            ValueError: If the action is not linear and tensors is missing.

        References:
            Dissertation, Proposition 4.5.1 (the Jacobian) and section 4.5.
        """
        if self.linear:
            return self._each(
                gradients,
                gradients,
                lambda slot, x: slot.moved(self.group, self._like(g, x), x, gradients, -1),
            )
        if tensors is None:
            raise ValueError(
                f"Symmetry.transport: {self.name} moves its parameters by an action that is not linear; "
                "got no tensors; pass the parameters before the move."
            )
        return self._pull_back(g, gradients, tensors)

    def transport_second(self, g: Tensor, seconds: Tensors) -> dict[str, Tensor]:
        """Second moments (averages of squared gradients) at the moved point.

        Args:
            g: Element, shape (*batch, *group.element_shape).
            seconds: Second moments by name, elementwise.

        Returns:
            New second moments for those given that change.

        Raises:
            ValueError: If the group mixes coordinates, which elementwise second moments cannot follow.
        """
        if not isinstance(self.group, PositiveScaling | SignFlip | Permutation) or not self.linear:
            raise ValueError(
                f"Symmetry.transport_second: elementwise second moments follow scalings, signs and permutations only; "
                f"got {self.name}; choose second_moments='keep' or 'reset' for it."
            )
        return self.charged(-2).act(g, seconds)

    def charged(self, power: int) -> "Symmetry":
        """The same group on what moves with every charge times the power: gradients -1, their squares -2."""
        slots = (replace(s, charge=power * Fraction(s.charge)) for s in self.slots if isinstance(s, Slot))
        return replace(self, slots=tuple(slots))

    @property
    def name(self) -> str:
        """Group and batch in one word, such as GL(64)^12."""
        return self.group.name + (f"^{'x'.join(map(str, self.batch))}" if self.batch else "")

    def __repr__(self) -> str:
        return f"Symmetry({self.name}, {self.family}, on {', '.join(self.parameters)})"

    def _like(self, g: Tensor, x: Tensor) -> Tensor:
        # Never to a narrower dtype: a rotation rounded to bfloat16 is no rotation.
        return g.to(x.device, torch.promote_types(g.dtype, x.dtype) if g.is_floating_point() else g.dtype)

    def _each(self, source: Tensors, present: Tensors, rule) -> dict[str, Tensor]:
        moved: dict[str, Tensor] = {}
        for slot in self.slots:
            name = slot.parameter
            if name not in present:
                continue
            if slot.block.covers(tuple(source[name].shape)):
                old = moved.get(name, source[name])
                new = rule(slot, old.reshape(slot.block.shape))
                moved[name] = new.reshape(old.shape)
                continue
            if transformed():
                old = moved.get(name, source[name])
                moved[name] = slot.block.replaced(old, rule(slot, slot.block.read(old)))
                continue
            # A clone would keep the layout; as_strided views of it then write where they read.
            if name not in moved:
                moved[name] = source[name].clone()
            view = slot.block.view(moved[name])
            # Differentiated, a rule keeps what it was given, which must not be written over.
            view.copy_(rule(slot, view.clone() if torch.is_grad_enabled() else view))
        return moved

    def _pull_back(self, g: Tensor, gradients: Tensors, tensors: Tensors) -> dict[str, Tensor]:
        names = [n for n in dict.fromkeys([*self.parameters, *self.reads])]
        before = {n: tensors[n].detach() for n in names}
        with torch.enable_grad():
            moved = {n: t.detach().requires_grad_() for n, t in (before | self.act(g, before)).items()}
            back = moved | self.act(self.group.inverse(g), moved)
            known = [n for n in names if n in gradients]
            found = torch.autograd.grad(
                [back[n] for n in known],
                [moved[n] for n in names],
                [gradients[n].to(back[n].dtype) for n in known],
                allow_unused=True,
            )
        return {n: f for n, f in zip(names, found, strict=True) if n in gradients and f is not None}


def _plain(fields: list[tuple[str, Any]]) -> list:
    """The values of a dataclass, numbers as strings: 1 and Fraction(1) are the same charge."""
    return [str(value) if isinstance(value, int | float | Fraction) else value for _, value in fields]
