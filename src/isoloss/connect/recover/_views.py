"""What one symmetry moves, seen as vectors at both points, freed from what others that are not known yet do to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoloss.connect.recover._overlap import clouded, overlap, same
from isoloss.groups import (
    ComplexScaling,
    GeneralLinear,
    Orthogonal,
    Permutation,
    PositiveScaling,
    SignFlip,
    Translation,
)
from isoloss.symmetry import Shift, Slot, Symmetry

MATRICES = (GeneralLinear, Orthogonal, ComplexScaling)


@dataclass(frozen=True)
class View:
    """One slot of a symmetry, at both points.

    Attributes:
        x: At the first point, shape (B, R, *own): one row for each vector that the group acts on.
        y: At the second.
        charge: Of the slot.
        signed: May a sign per coordinate lie between them?
    """

    x: Tensor
    y: Tensor
    charge: float
    signed: bool = False


def views(
    symmetry: Symmetry,
    unknown: Sequence[Symmetry],
    a: dict[str, Tensor],
    b: dict[str, Tensor],
    known: Sequence[Symmetry] = (),
) -> list[View]:
    """The slots from which the symmetry can be read, whatever the unknown ones do.

    A slot that an unknown symmetry moves as well is used only if its effect can be taken out: translations by a
    projection, scalings by the norms along their axes, signs by trying both or by moduli, permutations along other axes
    by sorting, and where only lengths matter (a scaling is sought) whatever keeps them.

    Args:
        symmetry: What is sought.
        unknown: Other symmetries whose elements are not known yet.
        a: The first point, moved by what is known and comes before it.
        b: The second, moved back by what is known and comes after it.
        known: Those others whose elements are known.
    """
    found = []
    for slot in symmetry.slots:
        if clouded(slot, known, [u for u in unknown if not isinstance(u.group, Translation)]):
            continue
        if isinstance(slot, Slot) and (view := _view(symmetry, slot, unknown, a, b)) is not None:
            found.append(view)
    return found


def _view(symmetry: Symmetry, slot: Slot, unknown: Sequence[Symmetry], a, b) -> View | None:
    signed, moduli, scalings, orders = False, False, [], []
    if any(
        s is not slot and s.parameter == slot.parameter and overlap(s.block, slot.block)
        for s in symmetry.slots
    ):
        return None  # it moves these entries twice: a square matrix, from both sides
    for other in unknown:
        if any(name in other.parameters for name in slot.reads):
            return None
        if other.whole and slot.parameter in other.parameters:
            return None
        for rival in other.slots:
            if rival.parameter != slot.parameter or not overlap(rival.block, slot.block):
                continue
            if isinstance(rival, Shift):
                continue
            effect = _effect(symmetry, slot, other, rival)
            if effect is None:
                return None
            signed |= effect == "sign"
            moduli |= effect == "signs"
            if effect == "scale":
                scalings.append(rival)
            if effect == "order":
                orders.append(rival)
    if len({r.dims for r in scalings}) > 1:
        return None
    if orders and signed:  # sorting does not go with changes of sign
        signed, moduli = False, True
    clean = [_without_shifts(slot, unknown, point) for point in (a, b)]
    for rival in scalings[:1]:
        clean = [_normalized(rival, point) for point in clean]
    if moduli:
        clean = [point | {slot.parameter: point[slot.parameter].abs()} for point in clean]
    for rival in orders:
        clean = [_ordered(rival, point) for point in clean]
    x, y = (_rows(symmetry, slot, point) for point in clean)
    return View(x, y, float(slot.charge), signed)


def _effect(symmetry: Symmetry, slot: Slot, other: Symmetry, rival: Slot) -> str | None:
    """How an unknown symmetry can be taken out of a slot of the one that is sought; None if it cannot."""
    if isinstance(symmetry.group, ComplexScaling) and isinstance(other.group, SignFlip):
        return "nothing"  # a phase of pi, where it keeps the network
    if not same(slot.block, rival.block):
        return None
    apart = rival.block == slot.block and not set(rival.dims) & set(slot.dims)
    if isinstance(symmetry.group, Permutation):
        if isinstance(other.group, PositiveScaling):
            return "scale"
        if isinstance(other.group, SignFlip) and rival.block == slot.block:
            return "sign" if set(rival.dims) <= set(slot.dims) else "signs"
        if isinstance(other.group, Permutation) and rival.block == slot.block:
            return "order" if rival.dims[-1] not in slot.dims else None
    if isinstance(symmetry.group, PositiveScaling):
        if isinstance(other.group, SignFlip):
            return "nothing"
        if isinstance(other.group, Permutation | Orthogonal) and apart:
            return "nothing"
    if isinstance(symmetry.group, SignFlip) and isinstance(other.group, PositiveScaling):
        return "nothing"
    if isinstance(symmetry.group, Orthogonal) and not rival.dims:
        # One factor for the whole block: rotations keep its norm, and a sign is a rotation by itself.
        return {PositiveScaling: "scale", SignFlip: "nothing"}.get(type(other.group))
    return None


def _rows(symmetry: Symmetry, slot: Slot, tensors) -> Tensor:
    """The vectors that the group acts on, as its action would see them, frames undone."""
    seen: list[Tensor] = []

    def rule(g: Tensor, x: Tensor, charge: Any) -> Tensor:
        seen.append(x)
        return x

    x = slot.block.view(tensors[slot.parameter])
    inner = len(symmetry.group.element_shape)
    slot._apply(rule, inner, symmetry.identity(dtype=torch.float64), x, tensors, 1)
    batch, own = len(symmetry.batch), symmetry.group.own
    rows = seen[0].double()
    count = rows.shape[:batch].numel()
    return rows.reshape(count, -1, *rows.shape[rows.dim() - own :])


def _without_shifts(slot: Slot, unknown: Sequence[Symmetry], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    shifts = [
        s
        for other in unknown
        for s in other.slots
        if isinstance(s, Shift) and s.parameter == slot.parameter and overlap(s.block, slot.block)
    ]
    if not shifts:
        return tensors
    clean = tensors[slot.parameter].double().clone()
    for shift in shifts:
        view = shift.block.view(clean)
        view.sub_(_image(shift, view, tensors, unknown))
    return tensors | {slot.parameter: clean}


def _image(shift: Shift, x: Tensor, tensors, unknown: Sequence[Symmetry]) -> Tensor:
    """The part of a block that a translation can reach, or more; its complement does not see the translation."""
    inputs, output = shift.equation.replace(" ", "").split("->")
    own, *others = inputs.split(",")
    if any(len(letters) != 1 for letters in others) or _moved(shift, unknown):
        return x.clone()
    weights = {}
    for letters, operand in zip(others, shift.operands, strict=True):
        w = operand.of(tensors).double()
        weights[letters] = weights.get(letters, 1.0) * w
    fixed = [c for c in output if c not in own]
    if not fixed:
        return x.clone()
    vectors = [weights.get(c, torch.ones(x.shape[output.index(c)]).to(x)) for c in fixed]
    vectors = [v / torch.linalg.vector_norm(v).clamp_min(torch.finfo(torch.float64).tiny) for v in vectors]
    free = "".join(c for c in output if c in own)
    along = torch.einsum(f"{output},{','.join(fixed)}->{free}", x, *vectors)
    return torch.einsum(f"{free},{','.join(fixed)}->{output}", along, *vectors)


def _moved(shift: Shift, unknown: Sequence[Symmetry]) -> bool:
    """Does an unknown symmetry move what the shift passes through, by more than a common factor?"""
    for other in unknown:
        if other.whole and set(shift.reads) & set(other.parameters):
            return True
        for rival in other.slots:
            if rival.parameter in shift.reads and not (isinstance(rival, Slot) and not rival.dims):
                return True
    return False


def _normalized(rival: Slot, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    clean = tensors[rival.parameter].double().clone()
    view = rival.block.view(clean)
    rest = [d for d in range(view.dim()) if d not in rival.dims]
    norms = torch.linalg.vector_norm(view, dim=rest, keepdim=True) if rest else view.abs()
    view.div_(torch.where(norms > 0, norms, 1.0))
    return tensors | {rival.parameter: clean}


def _ordered(rival: Slot, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Entries in the order of their size along the axis of a permutation that is not known."""
    clean = tensors[rival.parameter].double().clone()
    view = rival.block.view(clean)
    view.copy_(view.sort(rival.dims[-1]).values)
    return tensors | {rival.parameter: clean}


def head_features(
    symmetry: Symmetry, unknown: Sequence[Symmetry], a: dict[str, Tensor], b: dict[str, Tensor]
) -> list[View]:
    r"""What tells the heads of an unknown matrix group apart: random entries of :math:`X^T Y`, charges 1 and -1.

    .. math:: (g X)^T (g^{-T} Y) = X^T Y

    Where only one charge can be used (queries whose heads are permuted within a group), the projector on the span of X.

    Args:
        symmetry: A permutation of heads.
        unknown: Other symmetries; those with one matrix per head are what hides the heads.
        a: The first point.
        b: The second.
    """
    found = []
    for other in unknown:
        if not isinstance(other.group, MATRICES) or symmetry.batch:
            continue
        axis = _head_axis(symmetry, other)
        if axis is None:
            continue
        rest = [u for u in unknown if u is not other]
        parts = views(other, rest, a, b)
        if sketch := _sketch(other, parts):
            x, y = (s.movedim(axis, 0).flatten(1).mT[None] for s in sketch)
            found.append(View(x, y, 1.0))
    return found


def _head_axis(symmetry: Symmetry, other: Symmetry) -> int | None:
    """The batch axis of another symmetry along which this one permutes."""
    axes = set()
    for rival in other.slots:
        mine = [s for s in symmetry.slots if isinstance(s, Slot) and s.parameter == rival.parameter]
        mine = [s for s in mine if s.block == rival.block]
        heads = rival.dims[: len(other.batch)] if isinstance(rival, Slot) else ()
        axes.add(next((heads.index(s.dims[0]) for s in mine if s.dims[0] in heads), None))
    return axes.pop() if len(axes) == 1 else None


def _sketch(other: Symmetry, parts: list[View]) -> tuple[Tensor, Tensor] | None:
    orthogonal = isinstance(other.group, Orthogonal)
    plus = [v for v in parts if orthogonal or v.charge > 0]
    minus = plus if orthogonal else [v for v in parts if v.charge < 0]
    if not plus and not minus:
        return None
    found = []
    for end in ("x", "y"):
        sides = [torch.cat([getattr(v, end) for v in side], 1) for side in (plus, minus) if side]
        if len(sides) == 1:  # one charge alone: what is left of it is the space that the vectors span
            sides = [_spanning(sides[0], other)] * 2
        one, two = map(_compressed, sides)
        if isinstance(other.group, ComplexScaling):
            p, q = (torch.complex(*t.unbind(-2)) for t in (one, two))
            invariant = torch.view_as_real(torch.einsum("brf,bsf->brsf", p, q.conj()))
        else:
            invariant = one @ two.mT
        found.append(invariant.reshape(*other.batch, -1))
    return found[0], found[1]


def _spanning(x: Tensor, other: Symmetry) -> Tensor:
    """An orthonormal basis of the columns of (B, R, n); complex numbers have one column each."""
    if isinstance(other.group, ComplexScaling):
        norms = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        return x / torch.where(norms > 0, norms, 1.0)
    return torch.linalg.qr(x).Q


def _compressed(stacked: Tensor, size: int = 16) -> Tensor:
    """Random combinations of the vectors, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(size, stacked.shape[1], generator=generator, dtype=torch.float64).to(stacked)
    return torch.einsum("sr,br...->bs...", mix, stacked)
