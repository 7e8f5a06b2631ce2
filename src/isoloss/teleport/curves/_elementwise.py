"""Derivatives of elementwise functions, alone and composed with a curve."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

Function = Callable[[Tensor], Tensor]


def elementwise_derivatives(f: Function, z: Tensor, order: int) -> list[Tensor]:
    r"""The derivatives :math:`f'(z), f''(z), \ldots` of an elementwise function, one entry at a time.

    Args:
        f: Any elementwise function that torch differentiates, such as an activation.
        z: Where.
        order: How many.
    """
    found = []
    for _ in range(order):
        f = _derivative(f)
        found.append(f(z))
    return found


def inverse_derivatives(slopes: list[Tensor]) -> list[Tensor]:
    r"""The derivatives of the inverse function at f(z), from those of the function at z; up to the third.

    .. math:: (f^{-1})' = \frac{1}{f'}, \qquad (f^{-1})'' = -\frac{f''}{f'^3}, \qquad
        (f^{-1})''' = \frac{3 f''^2 - f' f'''}{f'^5}

    Args:
        slopes: The derivatives of f, the first not zero.
    """
    f1, f2, f3 = (slopes + [torch.zeros_like(slopes[0])] * 2)[:3]
    return [1 / f1, -f2 / f1**3, (3 * f2.square() - f1 * f3) / f1**5][: len(slopes)]


def composed(slopes: list[Tensor], moves: list[Tensor]) -> list[Tensor]:
    r"""The derivatives of :math:`f(z(t))` by time, from those of f at z and those of z; up to the third.

    .. math:: f' \dot z, \qquad f'' \dot z^2 + f' \ddot z, \qquad f''' \dot z^3 + 3 f'' \dot z \ddot z + f' \dddot z
    """
    found = [slopes[0] * moves[0]]
    if len(moves) > 1:
        found.append(slopes[1] * moves[0].square() + slopes[0] * moves[1])
    if len(moves) > 2:
        found.append(slopes[2] * moves[0] ** 3 + 3 * slopes[1] * moves[0] * moves[1] + slopes[0] * moves[2])
    return found


def _derivative(f: Function) -> Function:
    return grad(lambda z: f(z).sum())
