"""How one symmetry moves one block of one parameter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from isoloss.groups import Group
from isoloss.symmetry._block import Block

# Entries of a block that are moved at once where it is moved in place.
PIECE = 1 << 18


@dataclass(frozen=True)
class Frame:
    """A diagonal change of basis read off a parameter: D = diag(parameter) ** power.

    A norm's weight w sits between the stream that a rotation Q moves and the layers that read it, which are
    therefore moved by diag(w) Q diag(w)^-1.

    Attributes:
        parameter: Name of the parameter that holds the diagonal.
        block: Where it lies in that parameter; its view has the group's batch dimensions, then the group's own.
        dims: Dimensions of the slot's view (batch and own) that the dimensions of the block's view run along.
        power: Exponent of the diagonal.
    """

    parameter: str
    block: Block
    dims: tuple[int, ...]
    power: int = 1


@dataclass(frozen=True)
class Slot:
    """A block of a parameter that a group acts on along some of its dimensions.

    Attributes:
        parameter: Name of the parameter or buffer.
        block: The part of it that moves.
        dims: Dimensions of the block's view: those of the element's batch in order, then the group's own.
            A one-dimensional scaling of the whole block has no dimension of its own.
        charge: Exponent or variance: s ** charge for scalings, +1 for g and -1 for g^-T in matrix groups.
        frames: Diagonal changes of basis around the action.
    """

    parameter: str
    block: Block
    dims: tuple[int, ...]
    charge: Fraction = Fraction(1)
    frames: tuple[Frame, ...] = ()

    @property
    def linear(self) -> bool:
        """Is the action linear in all parameters taken together?"""
        return not self.frames

    @property
    def reads(self) -> tuple[str, ...]:
        """Parameters that the action reads but does not move."""
        return tuple(f.parameter for f in self.frames)

    def moved(
        self, group: Group, g: Tensor, block: Tensor, tensors: Mapping[str, Tensor], sign: int = 1
    ) -> Tensor:
        """The block's view after g; sign -1 gives the contragredient, which moves gradients."""
        rule = group.act if sign > 0 else group.dual  # a gradient is not translated: not act with -charge
        return self._apply(rule, len(group.element_shape), g, block, tensors, sign)

    def pieces(self, block: Tensor) -> Iterable[Tensor]:
        """Parts of the block's view that move independently, none much larger than a few megabytes if it can be."""
        rest = [d for d in range(block.ndim) if d not in self.dims]
        if block.numel() <= PIECE or not rest:
            return (block,)
        axis = max(rest, key=lambda d: block.shape[d])
        return block.split(max(1, PIECE * block.shape[axis] // block.numel()), axis)

    def velocity(self, group: Group, a: Tensor, block: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """Derivative of `moved` at the identity along the algebra element a."""
        return self._apply(group.velocity, len(group.algebra_shape), a, block, tensors, 1)

    def _apply(self, rule, inner: int, g: Tensor, block: Tensor, tensors, sign: int) -> Tensor:
        for frame in self.frames:
            block = block * self._diagonal(frame, block, tensors, -sign)
        batch = g.ndim - inner
        own = self.dims[batch:]
        rest = [d for d in range(block.ndim) if d not in self.dims]
        order = [*self.dims[:batch], *rest, *own]
        x = block.permute(order)
        y = rule(g, x, self.charge) if own else rule(g, x.unsqueeze(-1), self.charge).squeeze(-1)
        block = y.permute([order.index(d) for d in range(block.ndim)])
        for frame in self.frames:
            block = block * self._diagonal(frame, block, tensors, sign)
        return block

    def _diagonal(self, frame: Frame, block: Tensor, tensors: Mapping[str, Tensor], sign: int) -> Tensor:
        d = frame.block.read(tensors[frame.parameter])
        order = sorted(range(d.ndim), key=lambda i: frame.dims[i])
        shape = [1] * block.ndim
        for i in range(d.ndim):
            shape[frame.dims[i]] = d.shape[i]
        return d.permute(order).reshape(shape).to(block.dtype) ** (sign * frame.power)


@dataclass(frozen=True)
class Operand:
    """A parameter block that a shift is multiplied with, to a power."""

    parameter: str
    block: Block
    power: int = 1

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The block's view, to the power."""
        x = self.block.read(tensors[self.parameter])
        return x if self.power == 1 else x**self.power


@dataclass(frozen=True)
class Shift:
    """A block of a parameter that a translation t moves by coefficient * einsum(equation, t, *operands).

    Letters of the output that no input has are broadcast over: "i->oi" adds t to every row.

    Attributes:
        parameter: Name of the parameter or buffer.
        block: The part of it that moves.
        equation: An einsum equation; its first operand is the translation.
        operands: Parameter blocks that the translation passes through, read before anything moves.
        coefficient: Factor of the shift.
    """

    parameter: str
    block: Block
    equation: str
    operands: tuple[Operand, ...] = ()
    coefficient: Fraction | float = field(default=Fraction(1))

    @property
    def linear(self) -> bool:
        """Is the derivative of the action in the parameters the identity?"""
        return not self.operands

    @property
    def reads(self) -> tuple[str, ...]:
        """Parameters that the action reads but does not move."""
        return tuple(o.parameter for o in self.operands)

    def moved(
        self, group: Group, g: Tensor, block: Tensor, tensors: Mapping[str, Tensor], sign: int = 1
    ) -> Tensor:
        """The block's view after the translation; gradients (sign -1) do not see a constant shift."""
        return block if sign < 0 else block + self.velocity(group, g, block, tensors)

    def pieces(self, block: Tensor) -> Iterable[Tensor]:
        """The block's view: its equation gives the shift of all of it."""
        return (block,)

    def velocity(self, group: Group, a: Tensor, block: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """The shift itself: a translation is its own velocity."""
        inputs, output = self.equation.replace(" ", "").split("->")
        operands = [o.of(tensors).to(a.dtype) for o in self.operands]
        kept = "".join(c for c in output if c in inputs)
        shift = torch.einsum(f"{inputs}->{kept}", a, *operands)
        shape = [n if c in kept else 1 for c, n in zip(output, block.shape, strict=True)]
        return float(self.coefficient) * shift.reshape(shape).to(block.dtype).expand(block.shape)
