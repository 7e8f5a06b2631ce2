"""The formulas of `isoloss.dependent.actions` for tensors of one task, without a decision that depends on numbers.

They therefore run under `torch.func`, where those, which measure ranks, do not. At full rank both give the same.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from isoloss.dependent import (
    Activation,
    DependentAction,
    Difference,
    Frame,
    One,
    Two,
)
from isoloss.dependent._frame import Complement, _fixed

Form = Callable[[Any, Tensor, Tensor, Tensor, Tensor, Activation], tuple[Tensor, Tensor]]
"""From the form, g (h, h), V (h, n), U (o, H), X (n, k), and the activation, to V' and U'; H is h or h + 1."""


def right_quotient(b: Tensor, s: Tensor) -> Tensor:
    r"""The product :math:`b\, S^+` for b of shape (m, k) and S of shape (h, k) and full rank.

    A square S is solved with. Else the smaller Gram matrix is, which squares the condition number; its diagonal grows
    by rounding, so that a singular one gives large numbers, not an error in the midst of a batch of tasks.
    """
    h, k = s.shape
    if h == k:
        return _divide(b, s)
    gram = s.mT @ s if k < h else s @ s.mT
    rounding = max(h, k) * torch.finfo(s.dtype).eps * gram.diagonal().mean()
    gram = gram + rounding * torch.eye(len(gram), dtype=s.dtype, device=s.device)
    if k < h:
        return _divide(b, gram) @ s.mT
    return _divide(b @ s.mT, gram)


def _divide(b: Tensor, s: Tensor) -> Tensor:
    """b S^-1; numbers that are none where S is singular. The nested forward rule of `linalg.solve` is wrong."""
    lu, pivots, _ = torch.linalg.lu_factor_ex(s)
    return torch.linalg.lu_solve(lu, pivots, b, left=False)


def units(v: Tensor, x: Tensor, columns: int, activation: Activation) -> Tensor:
    """Activations sigma(V X) of shape (h, k), below them a row of ones if `columns`, those of U, are h + 1."""
    s = activation.value(v @ x)
    return s if columns == len(s) else torch.cat([s, torch.ones_like(s[:1])])


def _difference(
    form: Difference, g: Tensor, v: Tensor, u: Tensor, x: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    moved = g @ v
    s, after = (units(w, x, u.shape[1], activation) for w in (v, moved))
    return moved, u + right_quotient(u @ (s - after), after)


def _two(
    form: Two, g: Tensor, v: Tensor, u: Tensor, x: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    moved = g @ v
    s, after = (units(w, x, u.shape[1], activation) for w in (v, moved))
    return moved, right_quotient(u @ s, after)


def _frame(
    form: Frame, g: Tensor, v: Tensor, u: Tensor, x: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    moved = g @ v
    s, after = (units(w, x, u.shape[1], activation) for w in (v, moved))
    if s.shape[1] > s.shape[0]:
        return moved, u + right_quotient(u @ (s - after), after)
    seen = right_quotient(u @ s, after)
    if s.shape[1] == s.shape[0]:
        return moved, seen
    return moved, seen + _complement(after).reflect(_complement(s).coordinates(u))


def _one(
    form: One, g: Tensor, v: Tensor, u: Tensor, x: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    assert activation.inverse is not None
    h, z = len(v), v @ x
    s = activation.value(z)
    target = activation.inverse(g @ s)
    if form.by_differences:
        moved = v + right_quotient(target - activation.inverse(s), x)
    else:
        moved = right_quotient(target, x)
    read = _divide(u[:, :h], g)
    return moved, torch.cat([read, u[:, h:]], 1)


def _complement(s: Tensor) -> Complement:
    # As Complement.of, but for the singular vectors: spans that meet have singular values 1 in common with a fixed
    # one, and the derivative of singular vectors divides by differences of singular values.
    q = torch.linalg.qr(s).Q
    fixed = _fixed(*s.shape).to(q)
    overlap = fixed.mT @ q
    polar = _polar_factor(overlap)
    one = torch.eye(len(overlap), dtype=s.dtype, device=s.device)
    return Complement(fixed, fixed + q @ polar.mT, torch.linalg.inv_ex(one + overlap @ polar.mT).inverse)


def _polar_factor(m: Tensor, rounds: int = 24) -> Tensor:
    """Newton's iteration; singular values down to 2^-18 arrive, since each round halves their distance to 1."""
    for _ in range(rounds):
        m = (m + torch.linalg.inv_ex(m).inverse.mT) / 2
    return m


FORMS: dict[type[DependentAction], Form] = {
    Difference: _difference,
    Frame: _frame,
    One: _one,
    Two: _two,
}
