"""Derivatives of a loss at one point, in given directions; no matrix is formed."""

from collections.abc import Callable

from torch import Tensor
from torch.func import grad, jvp

Loss = Callable[[Tensor], Tensor]
"""A differentiable function of a flat vector ``(n,)``, with a value of no dimension."""


def gradient(loss: Loss, w: Tensor) -> Tensor:
    """The gradient, of the shape of w.

    Raises:
        ValueError: If w is no flat vector.
    """
    if w.dim() != 1:
        raise ValueError(
            f"theory: a point must be a flat vector (n,); got {tuple(w.shape)}. Use `flatten` for named tensors and "
            "torch.func.vmap for a batch of points."
        )
    return grad(loss)(w)


def curvature(loss: Loss, w: Tensor, v: Tensor) -> Tensor:
    """The Hessian applied to v."""
    return jvp(grad(loss), (w,), (v,))[1]


def third(loss: Loss, w: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The third derivative with two directions put in: a vector."""
    return jvp(lambda w: curvature(loss, w, u), (w,), (v,))[1]


def across(p: Tensor, v: Tensor) -> Tensor:
    """The part of v that is orthogonal to p."""
    return v - p * (p @ v) / (p @ p)
