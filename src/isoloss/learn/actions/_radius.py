"""Elements that stay within a radius of the identity."""

from math import ceil, factorial, log2

import torch
from torch import Tensor

from isoloss.groups import ComplexScaling, GeneralLinear, Group
from isoloss.learn.actions._action import Action


def bounded(group: Group, a: Tensor, radius: float) -> Tensor:
    r"""Shrink algebra elements into the ball of that radius, and leave those well inside as they are.

    .. math:: a \mapsto a \bigl(1 + \lVert a / r \rVert^{16}\bigr)^{-1/16}, \qquad
        \lVert a \rVert^{16} = \operatorname{tr} (a^T a)^8

    The norm is the Schatten norm of order 16: a polynomial under the root, hence smooth everywhere, zero included, and
    between the spectral norm, which is `group.norm`, and :math:`n^{1/16}` times it. At half of the radius the spectral
    norm loses less than n / 10^6 of itself. Numbers one by one are shrunk one by one.

    Args:
        group: Whose algebra it is.
        a: Algebra elements, (*batch, *group.algebra_shape).
        radius: The bound on `group.norm`, not reached.

    Raises:
        ValueError: If the radius is not positive.
    """
    if not radius > 0:
        raise ValueError(f"bounded: the radius must be positive; got {radius}; infinity bounds nothing.")
    if radius == float("inf"):
        return a
    x = a / radius
    if isinstance(group, ComplexScaling):
        return a * _shrink(x.unsqueeze(-2)).squeeze(-1)
    if len(group.algebra_shape) == 1:
        return a * _shrink(x[..., None, None])[..., 0, 0]
    return a * _shrink(x)


def element(action: Action, a: Tensor, radius: float) -> Tensor:
    """The group element exp of the bounded algebra element, (*batch, *group.element_shape).

    In GL the radius says beforehand how often to square, and products of matrices are all that is differentiated:
    the derivative of `torch.linalg.matrix_exp` costs an exponential of twice the size, three times as much.
    """
    a = bounded(action.group, a, radius)
    if isinstance(action.group, GeneralLinear) and radius < float("inf"):
        return _matrix_exp(a, radius)
    return action.group.exp(a)


def _matrix_exp(a: Tensor, radius: float) -> Tensor:
    """The exponential of matrices of spectral norm below the radius, by scaling, squaring and a Taylor polynomial."""
    # The first term left out of the polynomial, of degree 13, is x^13 / 13!: 2e-10 for |x| = 1, 2e-18 for 1/4.
    inside = 0.25 if a.dtype == torch.float64 else 1.0
    squarings = max(0, ceil(log2(radius / inside)))
    x = a / 2**squarings
    square = x @ x
    cube, fourth = square @ x, square @ square
    one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)

    def four_terms(k: int) -> Tensor:  # of degree k to k + 3, x^k taken out
        c = [1 / factorial(k + i) for i in range(4)]
        return c[0] * one + c[1] * x + c[2] * square + c[3] * cube

    g = four_terms(0) + fourth @ (four_terms(4) + fourth @ (four_terms(8) + fourth / factorial(12)))
    for _ in range(squarings):
        g = g @ g
    return g


def _shrink(x: Tensor) -> Tensor:
    """(1 + |x|^16)^(-1/16) for matrices x, (*, 1, 1)."""
    # Divided by m = 1 + |x|_F^2 first: sixteenth powers overflow a float32 from 256 on.
    m = 1 + x.square().sum((-2, -1), keepdim=True)
    y = x / m.sqrt()
    gram = y @ y.mT if x.shape[-2] <= x.shape[-1] else y.mT @ y
    fourth = gram @ gram
    sixteenth = (fourth @ fourth).square().sum((-2, -1), keepdim=True)
    return (m**-8 + sixteenth) ** (-1 / 16) / m.sqrt()
