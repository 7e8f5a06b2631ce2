"""Propositions 4.5.14 to 4.5.16: when one teleport is enough for the whole descent, and when that is not known."""

from collections.abc import Sequence
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
        bracket_size: What the terms of each bracket amount to; compare the bracket with eps times that.
        derivative_size: Likewise.
    """

    brackets: Tensor
    derivatives: Tensor
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

    **Props. 4.5.15 and 4.5.16 are false as stated.** They ask that wherever the bracket vanishes its derivative along
    the flow does. But a function of time that vanishes with its derivative at one moment may leave 0, as
    :math:`t^2` does. Take

    .. math:: L(x, y) = \tfrac12 x^2 + \tfrac12 y^2 + \tfrac1{12} (y - 1)^4,

    strictly convex, with :math:`[A, R] L = \pm 2\, L_x L_y (y - 1)^2`. On y = 1 the bracket and its derivative vanish, as
    on the other two lines of optimal points; but the flow leaves y = 1, and is not optimal any more. The conclusion does
    follow if the condition holds near the optimal points with a bound: for some constant C,

    .. math:: |R [A, R] L| \le C \max_{B \in W} |[B, R] L| \quad \text{along the flow,}

    by Gronwall's inequality. For the fields M p this is so wherever T[p, p] is parallel to p, not only at optimal points:
    hence for quadratic functions, and under the condition of Prop. C.4.3. See `misalignment_along_flow` for a direct test.

    Args:
        loss: A function of a flat vector, three times differentiable.
        w: A point ``(n,)``, with a gradient other than 0.
        fields: Fields tangent to the level sets; for others the bracket still is [A, R] L, but says nothing of
            optimality.

    Returns:
        Values for each field, ``(fields,)``, or ``(n, n)`` without fields.

    References:
        Dissertation, Definition 4.5.13, Props. 4.5.14 to 4.5.16, eqs. (C.50) to (C.53); 2024 paper, Theorem 3, Props. 4, 11 and 12. Differs:
        the sign in the middle of eq. (4.53), where R [A, R] L is the derivative along the flow itself.
    """
    p = gradient(loss, w)
    hp = curvature(loss, w, p)
    hhp, tpp = curvature(loss, w, hp), third(loss, w, p, p)
    if fields is None:
        sizes = p.norm() * hp.norm(), p.norm() * (hhp.norm() + tpp.norm())
        ones = torch.ones_like(p[:, None] * p)
        return OneTeleport(-2 * _wedge(hp, p), 2 * _wedge(hhp + tpp, p), 2 * sizes[0] * ones, 2 * sizes[1] * ones)
    r = reverse_gradient(loss)
    rows = []
    for field in fields:

        def value(w: Tensor, field: Field = field) -> Tensor:
            return bracket(field, r)(w) @ grad(loss)(w)

        a, da = field(w).norm(), derivation(r, field)(w).norm()
        size = a * hp.norm() + da * p.norm()
        size_of_derivative = a * (hhp.norm() + tpp.norm()) + da * hp.norm()
        rows.append((value(w), derivation(r, value)(w), 2 * size, 2 * size_of_derivative))
    return OneTeleport(*(torch.stack(column) for column in zip(*rows, strict=True)))


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
