"""Sharpness and curvature of minima, for many networks at once: Eqs. (5.1) and (5.2) of the dissertation."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.func import vmap

from isoloss.reproduce._network import SLOPE, Weights, act, outputs, pinv
from isoloss.reproduce._together import Loss


def sharpness(
    weights: Weights,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    displacements: list[float],
    directions: Iterable[Weights],
) -> Tensor:
    r"""The mean loss around every network, differentiable: :math:`\phi = \frac1{|T||D|} \sum_{t, d} L(w + t d)`.

    Args:
        weights: Stacked, (model, out, in).
        x: Inputs.
        y: Targets.
        loss: Of outputs and targets, for one network.
        displacements: The numbers t.
        directions: The d, each with the shapes of one network; the same for all networks.

    Returns:
        One number per network, (model,).
    """
    z = (x @ weights[0].flatten(0, 1).mT).unflatten(1, weights[0].shape[:2])
    t = torch.tensor(displacements, dtype=x.dtype)

    def around(z: Tensor, rest: Weights, t: Tensor, dz: Tensor, direction: Weights) -> Tensor:
        return loss(outputs([w + t * d for w, d in zip(rest, direction, strict=True)], act(z + t * dz)), y)

    each = vmap(vmap(around, in_dims=(None, None, 0, None, None)), in_dims=(1, 0, None, None, None))
    total, count = torch.zeros(len(weights[0]), dtype=x.dtype), 0
    for first, *rest in directions:
        # A direction is shared, so its part of the first layer is computed once for all networks.
        total += each(z, weights[1:], t, x @ first.mT, tuple(rest)).sum(1)
        count += len(t)
    return total / count


def directions(
    weights: Weights, number: int, generator: torch.Generator, *, positive: bool = False
) -> Iterator[Weights]:
    """Random unit vectors in the space of one network's parameters.

    Args:
        weights: Stacked.
        number: How many.
        generator: Draws them.
        positive: From the positive orthant, as the published code does; the text says the unit sphere.
    """
    for _ in range(number):
        draw = torch.rand if positive else torch.randn
        parts = [draw(w.shape[1:], dtype=w.dtype, generator=generator) for w in weights]
        length = torch.stack([p.norm() for p in parts]).norm()
        yield tuple(p / length for p in parts)


def curvature(weights: Weights, x: Tensor, elements: tuple[Tensor, ...], skip: int = 0) -> Tensor:
    r"""The curvature at t = 0 of the curve :math:`\exp(t M) \cdot w` of action 1, for every hidden layer alone.

    .. math:: \kappa = \frac{\sqrt{\|\gamma'\|^2 \|\gamma''\|^2 - (\gamma' \cdot \gamma'')^2}}{\|\gamma'\|^3}

    For LeakyReLU, with :math:`S = \sigma(V h)`: :math:`\gamma' = (-U M, (M S \odot 1 / \sigma'(V h)) h^+)` and
    :math:`\gamma'' = (U M^2, (M^2 S \odot 1 / \sigma'(V h)) h^+)`. It does not depend on the length of M.

    Args:
        weights: Stacked, (model, out, in).
        x: Inputs (sample, in).
        elements: One M for every hidden layer, (width, width).
        skip: Hidden layers, from the input on, that are left out; the first needs a pseudo-inverse of the inputs.

    Returns:
        (hidden layer, model).

    References:
        2024 paper, Eqs. (39), (46) and (52); dissertation Eq. (5.2) with k = 1.
    """
    h = x.mT.expand(len(weights[0]), -1, -1)
    found = []
    for layer, (v, u, m) in enumerate(zip(weights[:-1], weights[1:], elements, strict=True)):
        z = v @ h
        s = act(z)
        if layer < skip:
            h = s
            continue
        inverse = pinv(h)
        slope = torch.where(z > 0, 1.0, 1 / SLOPE)
        first = (-u @ m, (m @ s * slope) @ inverse)
        second = (u @ m @ m, (m @ m @ s * slope) @ inverse)
        aa, bb, ab = _dot(first, first), _dot(second, second), _dot(first, second)
        found.append((aa * bb - ab.square()).clamp_min(0).sqrt() / aa**1.5)
        h = s
    return torch.stack(found)


def _dot(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    return (a[0] * b[0]).sum((-2, -1)) + (a[1] * b[1]).sum((-2, -1))
