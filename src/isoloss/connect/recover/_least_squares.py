"""Least squares without matrices: Gauss and Newton outside, conjugate gradients inside."""

from collections.abc import Callable

import torch
from torch import Tensor

Vector = list[Tensor]


def gauss_newton(
    residual: Callable[..., tuple[Tensor, ...]], start: Vector, *, steps: int = 8, iterations: int = 500
) -> Vector:
    r"""A point where :math:`\lVert F(x) \rVert` is small, from one nearby; each step nearest to where it starts.

    Where the solution is not unique, conjugate gradients from zero find the smallest step. A step that does not
    lower the residual is halved; three halvings end the search, as does a residual that rounding could leave.

    Args:
        residual: F, tensors to a tuple of tensors; differentiated once, forward and back.
        start: x, float64.
        steps: At most so many linear problems.
        iterations: At most so many products with the Jacobian in each.
    """
    x = list(start)
    value = residual(*x)
    size = _norm(value)
    for _ in range(steps):
        step = _conjugate_gradients(residual, x, value, iterations)
        for halvings in range(4):
            trial = [a + b / 2**halvings for a, b in zip(x, step, strict=True)]
            there = residual(*trial)
            new = _norm(there)
            if new < size:
                break
        else:
            return x
        gained = new / size
        x, value, size = trial, there, new
        if gained > 0.9:
            break
    return x


def _conjugate_gradients(residual, x: Vector, value: tuple[Tensor, ...], iterations: int) -> Vector:
    """The smallest s with F'(x) s nearest to -F(x): CGLS, which never squares the condition number by itself."""
    back, forward = _linearized(residual, x)

    s = [torch.zeros_like(a) for a in x]
    r = tuple(-v for v in value)
    gradient = back(r)
    direction, square = list(gradient), _square(gradient)
    goal = square * (100 * torch.finfo(torch.float64).eps) ** 2  # what rounding leaves of a gradient
    for _ in range(iterations):
        if square <= goal:
            break
        q = forward(direction)
        length = _square(q)
        if length == 0:
            break
        alpha = square / length
        s = [a + alpha * d for a, d in zip(s, direction, strict=True)]
        r = tuple(a - alpha * b for a, b in zip(r, q, strict=True))
        gradient = back(r)
        new = _square(gradient)
        direction = [g + (new / square) * d for g, d in zip(gradient, direction, strict=True)]
        square = new
    return s


def _linearized(
    residual: Callable[..., tuple[Tensor, ...]], x: Vector
) -> tuple[Callable[[tuple[Tensor, ...]], Vector], Callable[[Vector], tuple[Tensor, ...]]]:
    r"""Products with :math:`F'(x)^T` and :math:`F'(x)`.

    F is evaluated once: :math:`u \mapsto F'(x)^T u` is linear, and its own transpose is :math:`F'(x)`. Forward
    differentiation would run all of F again for every product.
    """
    with torch.enable_grad():
        at = [a.detach().requires_grad_() for a in x]
        value = residual(*at)
        probe = [torch.zeros_like(v).requires_grad_() for v in value]
        seen = [(v, u) for v, u in zip(value, probe, strict=True) if v.requires_grad]
        if not seen:  # F does not depend on x
            zeros = [torch.zeros_like(a) for a in x]
            return lambda u: zeros, lambda v: tuple(torch.zeros_like(r) for r in value)
        pulled = torch.autograd.grad(
            [v for v, _ in seen], at, [u for _, u in seen], create_graph=True, materialize_grads=True
        )

    def back(u: tuple[Tensor, ...]) -> Vector:
        live = [w for w, v in zip(u, value, strict=True) if v.requires_grad]
        return list(
            torch.autograd.grad([v for v, _ in seen], at, live, retain_graph=True, materialize_grads=True)
        )

    def forward(v: Vector) -> tuple[Tensor, ...]:
        used = [(p, w) for p, w in zip(pulled, v, strict=True) if p.requires_grad]
        return torch.autograd.grad(
            [p for p, _ in used], probe, [w for _, w in used], retain_graph=True, materialize_grads=True
        )

    return back, forward


def _square(x) -> Tensor:
    return torch.stack([t.square().sum() for t in x]).sum()


def _norm(x) -> Tensor:
    return _square(x).sqrt()
