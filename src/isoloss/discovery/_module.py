"""The loss of a module, and samples of its parameters."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isoloss._checks import is_size
from isoloss.discovery._loss import Loss
from isoloss.discovery._sampler import Sample
from isoloss.learn.tasks._reset import reset


def module_loss(model: nn.Module, criterion: Callable[..., Tensor]) -> Loss:
    r"""The loss of a module as a function of parameters and data: :math:`L(\theta, X) = c(f_\theta(x), \ldots)`.

    Args:
        model: f; left as it is. Its buffers, and parameters that are not sampled, have the values that they have then,
            in the dtype of those that are.
        criterion: c: from the outputs, and whatever stands after the inputs in the data, to a scalar, or one number for
            each data point.

    Returns:
        From parameters by name and data, a tuple whose first entry is the inputs, to the loss. An entry that holds
        inputs alone may be a bare tensor. It raises a ValueError if a name is none of the module's.
    """

    def loss(params: Any, data: Any) -> Tensor:
        x, *rest = data if isinstance(data, tuple | list) else (data,)
        held = dict(chain(model.named_parameters(), model.named_buffers()))
        unknown = (
            sorted(params.keys() - held.keys()) if isinstance(params, Mapping) else [type(params).__name__]
        )
        # functional_call would ignore them, and whatever moves them alone would be a symmetry.
        if unknown or not params:
            raise ValueError(
                f"module_loss: parameters must have the names of the module's, {', '.join(held)}; got "
                f"{', '.join(unknown) or 'none'}; sample them as model.named_parameters() names them."
            )
        dtype = next(iter(params.values())).dtype
        kept = {name: _kept(t, dtype) for name, t in held.items() if name not in params}
        return criterion(functional_call(model, kept | dict(params), (x,)), *rest)

    return loss


def _kept(t: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy, for what a module counts while it runs stays outside."""
    return t.detach().to(dtype, copy=True) if t.is_floating_point() else t.detach().clone()


def initializations(model: nn.Module) -> Sample:
    """A sampler of parameters as the module's own `reset_parameters` draw them; others stay what they are."""
    names = [name for name, _ in model.named_parameters()]
    return lambda n: reset(model, names, n)


def around(model: nn.Module, spread: float = 0.1) -> Sample:
    """A sampler of parameters near those of a module, such as a trained one.

    Args:
        model: Its parameters at the time of sampling are the mean.
        spread: Standard deviation, as a part of the root mean square of each parameter; of parameters that are all
            zero, itself.

    Raises:
        ValueError: If the spread is no positive number.
    """
    if not is_size(spread) or not spread:
        raise ValueError(f"around: spread must be a positive number; got {spread!r}.")

    def draw(n: int) -> dict[str, Tensor]:
        drawn = {}
        for name, p in model.named_parameters():
            size = p.detach().square().mean().sqrt()
            scale = spread * torch.where(size > 0, size, torch.ones_like(size))
            drawn[name] = p.detach() + scale * torch.randn(n, *p.shape, dtype=p.dtype, device=p.device)
        return drawn

    return draw
