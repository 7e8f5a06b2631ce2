"""Gradients and Hessian-vector products of the loss at other parameters, differentiable once more."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import widen

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors], Tensor]


def complete(point: Point, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors, and where they leave a parameter out, that of the point."""
    return dict(point.parameters) | dict(tensors)


def gradients(loss: Function, tensors: Tensors, names: list[str]) -> dict[str, Tensor]:
    """Gradients of the loss with respect to the tensors named."""
    return torch.func.grad(_of(loss, tensors))({n: tensors[n] for n in names})


def gradients_and_hvp(
    loss: Function, tensors: Tensors, names: list[str]
) -> tuple[dict[str, Tensor], Callable[[Tensors], dict[str, Tensor]]]:
    """Gradients, and the product of the Hessian with a vector: in reverse twice, for it is symmetric."""
    result = torch.func.vjp(torch.func.grad(_of(loss, tensors)), {n: tensors[n] for n in names})
    return result[0], lambda v: result[1](dict(v))[0]


def inner(x: Tensors, y: Tensors, weights: Mapping[str, float] | None = None) -> Tensor:
    """Inner product over all tensors of x, in float32 at least."""
    home = next(iter(x.values())).device
    terms = [
        (1.0 if weights is None else weights.get(n, 1.0)) * (widen(a) * widen(y[n])).sum()
        for n, a in x.items()
    ]
    return torch.stack([t.to(home) for t in terms]).sum()


def _of(loss: Function, tensors: Tensors) -> Function:
    return lambda chosen: loss({**tensors, **chosen})
