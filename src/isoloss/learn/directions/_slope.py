"""Slopes of a function along the orbit of the weights."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

from isoloss.groups import Group
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
    inner = tuple(range(a.dim() - len(group.algebra_shape), a.dim()))
    a = torch.where(a.isfinite().all(inner, keepdim=True) if inner else a.isfinite(), a, 0.0)
    size = group.norm(a).reshape(a.shape[: inner[0]] + (1,) * len(inner))
    return torch.where(size > 0, a / torch.where(size > 0, size, 1.0), 0.0)
