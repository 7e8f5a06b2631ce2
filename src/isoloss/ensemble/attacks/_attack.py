"""What an attack is, and what every attack does: a gradient with respect to inputs, a radius, a valid range."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss.ensemble.attacks._ball import per_sample

Loss = Callable[[Any, Tensor], Tensor]
Range = tuple[float | Tensor, float | Tensor]


class Attack(Protocol):
    """Moves inputs so that a model errs; any function of this signature is one, those of other libraries included."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, strength: float | Tensor) -> Tensor:
        """The moved inputs.

        Args:
            model: The model; its mode is respected, so call eval() before.
            x: Inputs, shape (sample, *features).
            y: Targets, as the loss takes them.
            strength: Largest norm of the change of a sample; a number, or one per sample.
        """
        ...


def summed_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """The sum over samples, so that the gradient of a sample does not depend on how many there are."""
    return cross_entropy(outputs, y, reduction="sum")


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The gradient of the loss with respect to the inputs; gradients of the parameters are left alone."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model(x), y), x)
    return gradient


def clipped(x: Tensor, valid: Range | None) -> Tensor:
    """The nearest inputs in the valid range; bounds may be tensors, one per channel say."""
    if valid is None:
        return x
    low, high = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in valid)
    return torch.minimum(torch.maximum(x, low), high)


def radius_of(strength: float | Tensor, x: Tensor) -> Tensor:
    """The strength as one radius per sample, shape (sample, *1)."""
    radius = torch.as_tensor(strength, dtype=x.dtype, device=x.device)
    return per_sample(radius.expand(len(x)), x)


def check_inputs(where: str, x: Tensor, strength: float | Tensor, valid: Range | None) -> None:
    """Refuse what no attack can move.

    Raises:
        ValueError: If inputs are no floating-point numbers or out of the valid range, or a strength is none.
    """
    if not x.is_floating_point() or x.dim() < 2:
        raise ValueError(
            f"{where}: inputs must be a batch of floating-point numbers; got {x.dtype} {tuple(x.shape)}; "
            "integers (tokens) have no gradient."
        )
    radius = torch.as_tensor(strength)
    if radius.dim() > 1 or radius.numel() not in (1, len(x)) or not bool((radius >= 0).all()):
        raise ValueError(
            f"{where}: strength must be a number that is not negative, or one per sample; got {strength!r} for "
            f"{len(x)} samples."
        )
    if not torch.equal(clipped(x, valid), x):
        raise ValueError(
            f"{where}: inputs must lie in the valid range; got values from {x.min():.4g} to {x.max():.4g} for "
            f"{valid}; pass valid=(low, high) of the inputs as the model takes them, normalized ones for instance, "
            "or None."
        )
