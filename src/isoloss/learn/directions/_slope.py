"""Slopes of a function along the orbit of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

from isoloss.groups import ComplexScaling, Group
from isoloss.learn._tensors import Tensors
from isoloss.learn.actions import Action


def slope(
    action: Action, objective: Callable[[Tensors], Tensor], parameters: Tensors, data: Tensors
) -> Tensor:
    r"""The gradient of a function along the orbit, nearest element of the algebra, (*batch, *algebra_shape).

    .. math:: \nabla_a\, f(\exp(a) \cdot w) \big|_{a = 0}

    Computed through `Group.retract`, which agrees with exp to first order in a and costs less.
    """
    first = parameters[action.parameters[0]]
    shape = (*action.batch, *action.group.algebra_shape)
    origin = torch.zeros(shape, dtype=first.dtype, device=first.device)

    def along(a: Tensor) -> Tensor:
        return objective(parameters | action.act(action.group.retract(a), parameters, data))

    return action.group.project(grad(along)(origin))


def normalized(group: Group, a: Tensor) -> Tensor:
    """The algebra elements divided by `group.norm`; what is zero, or not finite, becomes zero."""
    inner = tuple(range(-len(group.algebra_shape), 0))
    finite = a.isfinite().all(-1, keepdim=True)
    for axis in inner[:-1]:
        finite = finite.all(axis, keepdim=True)
    a = torch.where(finite, a, 0.0)
    largest = a.abs().amax(inner, keepdim=True)
    moves = largest > 0
    a = a / torch.where(moves, largest, 1.0)  # squares of tiny numbers vanish
    size = _norm(group, torch.where(moves, a, 1.0)).reshape(largest.shape)
    return torch.where(moves, a / size, 0.0)


def _norm(group: Group, a: Tensor) -> Tensor:
    """`group.norm`; for matrices by the eigenvalues of the Gram matrix, three times as fast as singular values."""
    if isinstance(group, ComplexScaling) or len(group.algebra_shape) < 2:
        return group.norm(a)
    return torch.linalg.eigvalsh(a @ a.mT)[..., -1].sqrt()
