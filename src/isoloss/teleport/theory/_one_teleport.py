"""Propositions 4.5.14 to 4.5.16: when one teleport is enough for the whole descent, and when that is not known."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad

from isoloss.teleport.theory._derivatives import Loss, curvature, gradient, third
from isoloss.teleport.theory._fields import Field, bracket, derivation, reverse_gradient
from isoloss.teleport.theory._newton import misalignment


class OneTeleport(NamedTuple):
    """What the three propositions ask at a point.

    Attributes:
        brackets: ([A, R] L)(w) for every field A: 0 for all of them if and only if w is optimal (Prop. 4.5.14).
        derivatives: (R [A, R] L)(w) for every field A, the derivative of the bracket along gradient flow.
        thirds: Its term with the third derivative, :math:`2 a^T T[p, p]`: at an optimal point, for fields M p, all that
            is left of it, and twice the expression of Prop. 4.5.16.
        bracket_size: What the terms of each bracket amount to; compare the bracket with eps times that.
        derivative_size: Likewise.
    """

    brackets: Tensor
    derivatives: Tensor
    thirds: Tensor
    bracket_size: Tensor
    derivative_size: Tensor

    def optimal(self, tolerance: float = 1e-9) -> Tensor:
        """Is the point critical for the norm of the gradient along all fields, relative to the size of the terms?"""
        return (self.brackets.abs() <= tolerance * self.bracket_size).flatten().all()

    def holds(self, tolerance: float = 1e-9) -> Tensor:
        """Does the condition of Prop. 4.5.15 hold here: if the brackets vanish, so do their derivatives?"""
        vanish = (self.derivatives.abs() <= tolerance * self.derivative_size).flatten().all()
        return ~self.optimal(tolerance) | vanish


def one_teleport_is_enough(loss: Loss, w: Tensor, fields: Sequence[Field] | None = None) -> OneTeleport:
    r"""Evaluate the bracket of fields with gradient flow on the loss, and its derivative along the flow.

    With p the gradient, H the Hessian, T the third derivative and :math:`R = -p`,

    .. math::
        [A, R] L &= -2\, a^T H p && \text{(Prop. 4.5.14: minus the derivative of } |p|^2 \text{ along } a) \\
        R [A, R] L &= 2 \bigl( (Da\, p)^T H p + a^T H^2 p + a^T T[p, p] \bigr) && \text{(eq. C.50)}

    Without fields these are all :math:`A = M p` with M antisymmetric, which span the tangent space of the level set;
    the results are then antisymmetric matrices, with entry (i, j) for :math:`M = E_{ij} - E_{ji}`, and the first term
    of the derivative is 0. At an optimal point also :math:`a^T H^2 p = 0`, and what is left is Prop. 4.5.16:
    one teleport is said to be enough if :math:`(M p)^T T[p, p] = 0` at all optimal points, that is if
    :math:`T[p, p]` is parallel to p there. Quadratic functions have T = 0.

    **Props. 4.5.15 and 4.5.16 are false as stated.** They ask that wherever the brackets vanish their derivatives along
    the flow do. But a function of time that vanishes with its derivative at one moment may leave 0, as :math:`t^2`
    does. Take

    .. math:: L(x, y) = \tfrac12 x^2 + \tfrac12 y^2 + \tfrac1{12} (y - 1)^4,

    strictly convex, with :math:`[A, R] L = \pm 2\, L_x L_y (y - 1)^2`. On y = 1 the bracket and its derivative vanish,
    as they do on the two other lines of optimal points; but the flow leaves y = 1, and is not optimal any more. The
    conclusion does follow from a bound instead: for finitely many fields W and some constant C,

    .. math:: |R [A, R] L| \le C \max_{B \in W} |[B, R] L| \quad \text{along the flow, for every } A \in W,

    by Gronwall's inequality. For a basis of the fields M p this is so where T[p, p] is parallel to p everywhere, not
    only at optimal points: for quadratic functions, and under the condition of Prop. C.4.3. To see for oneself, follow
    the flow with `misalignment_along_flow`.

    Args:
        loss: A function of a flat vector, three times differentiable.
        w: A point ``(n,)``, with a gradient other than 0.
        fields: Fields tangent to the level sets; for others the bracket still is [A, R] L, but says nothing of
            optimality.

    Returns:
        Values for each field, ``(fields,)``, or ``(n, n)`` without fields.

    References:
        Dissertation, Definition 4.5.13, Props. 4.5.14 to 4.5.16, eqs. (C.50) to (C.53); 2024 paper, Theorem 3,
        Props. 4, 11 and 12. Differs: the sign at the end of (4.53): R [A, R] L is the derivative on the flow.
    """
    p = gradient(loss, w)
    hp = curvature(loss, w, p)
    hhp, tpp = curvature(loss, w, hp), third(loss, w, p, p)
    if fields is None:
        everywhere = torch.ones_like(p[:, None] * p)
        return OneTeleport(
            brackets=-2 * _wedge(hp, p),
            derivatives=2 * _wedge(hhp + tpp, p),
            thirds=2 * _wedge(tpp, p),
            bracket_size=2 * p.norm() * hp.norm() * everywhere,
            derivative_size=2 * p.norm() * (hhp.norm() + tpp.norm()) * everywhere,
        )
    r = reverse_gradient(loss)
    rows = []
    for field in fields:
        value = _bracket_of_loss(field, loss)
        a, da = field(w), derivation(r, field)(w).norm()
        bracket_size = a.norm() * hp.norm() + da * p.norm()
        derivative_size = a.norm() * (hhp.norm() + tpp.norm()) + da * hp.norm()
        rows.append((value(w), derivation(r, value)(w), 2 * a @ tpp, 2 * bracket_size, 2 * derivative_size))
    return OneTeleport(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _bracket_of_loss(field: Field, loss: Loss) -> Callable[[Tensor], Tensor]:
    """The function [A, R] L, literally."""
    together = bracket(field, reverse_gradient(loss))
    return lambda w: together(w) @ grad(loss)(w)


def misalignment_along_flow(loss: Loss, w: Tensor, *, time: float, steps: int) -> tuple[Tensor, Tensor]:
    """Follow the gradient flow and see whether it stays optimal.

    Args:
        loss: A function of a flat vector.
        w: The start, ``(n,)``.
        time: For how long.
        steps: Of the classical Runge-Kutta method of order 4.

    Returns:
        The sine between gradient and Hessian times gradient, ``(steps + 1,)``, and the points, ``(steps + 1, n)``.
    """
    r, dt = reverse_gradient(loss), time / steps
    points = [w]
    for _ in range(steps):
        k1 = r(w)
        k2 = r(w + dt / 2 * k1)
        k3 = r(w + dt / 2 * k2)
        k4 = r(w + dt * k3)
        w = w + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        points.append(w)
    return torch.stack([misalignment(loss, point) for point in points]), torch.stack(points)


def _wedge(v: Tensor, p: Tensor) -> Tensor:
    """(M p)^T v for M = E_ij - E_ji, all i and j: v_i p_j - p_i v_j."""
    outer = v[:, None] * p
    return outer - outer.mT
