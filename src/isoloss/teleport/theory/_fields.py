"""Vector fields on parameter space, as functions: what they do to functions, and their bracket."""

from collections.abc import Callable

from torch import Tensor
from torch.func import grad, jvp

from isoloss.teleport.theory._derivatives import Loss

Field = Callable[[Tensor], Tensor]
"""A vector field: a velocity ``(n,)`` for every point ``(n,)``."""


def derivation(field: Field, f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    r"""The derivative of f along a field, :math:`A f = a^i \partial_i f`, as a function."""
    return lambda w: jvp(f, (w,), (field(w),))[1]


def bracket(a: Field, b: Field) -> Field:
    r"""The Lie bracket :math:`[A, B]^i = a^j \partial_j b^i - b^j \partial_j a^i`; 0 where the flows commute."""
    return lambda w: derivation(a, b)(w) - derivation(b, a)(w)


def reverse_gradient(loss: Loss) -> Field:
    r"""The field :math:`R = -\nabla L` of gradient flow."""
    return lambda w: -grad(loss)(w)


def turned_gradient(loss: Loss, m: Tensor) -> Field:
    r"""The field :math:`M \nabla L`, tangent to the level sets for an antisymmetric M.

    Where the gradient is not 0 every tangent vector of the level set is of this form (Lemma C.4.2).
    """
    return lambda w: m @ grad(loss)(w)
