"""Gradients and Hessian-vector products of the loss at other parameters, differentiable once more."""

from collections.abc import Callable, Iterable, Mapping

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
    """Gradients of the loss with respect to the tensors named.

    They can be differentiated again where gradients are on, and under `torch.func`. Outside of it they come from plain
    autograd, which knows checkpointing and other saved-tensor hooks, as `torch.func` does not.
    """
    chosen = {n: tensors[n] for n in names}
    if torch._C._are_functorch_transforms_active():
        return torch.func.grad(_of(loss, tensors))(chosen)
    return _gradients(loss, tensors, _leaves(chosen), create_graph=torch.is_grad_enabled())


def gradients_and_hvp(
    loss: Function, tensors: Tensors, names: list[str]
) -> tuple[dict[str, Tensor], Callable[[Tensors], dict[str, Tensor]]]:
    """Gradients, and the product of the Hessian with a vector: in reverse twice, for it is symmetric."""
    chosen = {n: tensors[n] for n in names}
    if torch._C._are_functorch_transforms_active():
        result = torch.func.vjp(torch.func.grad(_of(loss, tensors)), chosen)
        return result[0], lambda v: result[1](dict(v))[0]
    leaves, again = _leaves(chosen), torch.is_grad_enabled()
    found = _gradients(loss, tensors, leaves, create_graph=True)
    rows = {n: g for n, g in found.items() if g.requires_grad}

    def hvp(v: Tensors) -> dict[str, Tensor]:
        if not rows:
            return {n: torch.zeros_like(x) for n, x in leaves.items()}
        weights = [v[n].to(g.dtype) for n, g in rows.items()]
        product = torch.autograd.grad(
            list(rows.values()),
            list(leaves.values()),
            weights,
            create_graph=again,
            retain_graph=True,
            allow_unused=True,
        )
        return _filled(leaves, product)

    return found if again else {n: g.detach() for n, g in found.items()}, hvp


def inner(x: Tensors, y: Tensors, weights: Mapping[str, float] | None = None) -> Tensor:
    """Inner product over all tensors of x, in float32 at least."""
    home = next(iter(x.values())).device
    terms = [
        (1.0 if weights is None else weights.get(n, 1.0)) * (widen(a) * widen(y[n])).sum()
        for n, a in x.items()
    ]
    return torch.stack([t.to(home) for t in terms]).sum()


def _gradients(loss: Function, tensors: Tensors, leaves: Tensors, create_graph: bool) -> dict[str, Tensor]:
    with torch.enable_grad():
        value = loss({**tensors, **leaves})
        found = torch.autograd.grad(
            value, list(leaves.values()), create_graph=create_graph, allow_unused=True
        )
    return _filled(leaves, found)


def _leaves(chosen: Tensors) -> dict[str, Tensor]:
    """The tensors themselves where there is a graph behind them, else copies that have one ahead."""
    return {n: x if x.requires_grad else x.detach().requires_grad_() for n, x in chosen.items()}


def _filled(leaves: Tensors, found: Iterable[Tensor | None]) -> dict[str, Tensor]:
    return {
        n: torch.zeros_like(x) if g is None else g for (n, x), g in zip(leaves.items(), found, strict=True)
    }


def _of(loss: Function, tensors: Tensors) -> Function:
    return lambda chosen: loss({**tensors, **chosen})
