"""What a loss and an action must be for training to make sense; asked before it starts."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from isoloss.discovery._loss import SLOPED, Losses
from isoloss.discovery.actions import Action

WHERE = "discover"


def require_operations(losses: Losses, theta: Tensor, x: Tensor) -> None:
    """The loss can be batched and differentiated forward, then backward, as training does; rightly.

    Rules of torch can be missing, or wrong without a word: the first sample is compared with a plain backward pass.

    Raises:
        NotImplementedError: If they are missing, or wrong.
        ValueError: If the loss is no scalar or vector, or does not run in float64.
    """
    # What is wrong with the loss itself is told by itself.
    losses.one(theta[0], x[0])
    try:
        losses.one(theta[0].double(), x[0].double())
    except RuntimeError as error:
        raise ValueError(
            f"{WHERE}: the loss must run in float64 too, where symmetries are graded; got "
            f"{str(error).splitlines()[0]}; give constants the dtype of the parameters, or sample these in float64."
        ) from error
    plain = torch.autograd.functional.jacobian(lambda t: losses.one(t, x[0]), theta[0])
    v = (
        torch.randn(2, 1, len(theta[0]), generator=torch.Generator().manual_seed(0))
        .to(theta)
        .requires_grad_()
    )
    try:
        slopes = losses.slopes(theta[:2], x[:2], v[: len(theta)])
        if not slopes.requires_grad:
            return  # the loss does not depend on the parameters: `require_finite` tells
        (back,) = torch.autograd.grad(slopes[0].sum(), v)
    except (RuntimeError, NotImplementedError) as error:
        raise NotImplementedError(
            f"{WHERE}: the loss must be of operations that torch can batch (vmap) and differentiate forward (jvp) and "
            f"then backward; got {str(error).splitlines()[0]}; write the operation out, or for attention take the "
            "backend SDPBackend.MATH."
        ) from error
    gaps = torch.cat([slopes.detach()[0, 0] - plain @ v.detach()[0, 0], back[0, 0] - plain.sum(0)])
    off = float(gaps.abs().max())
    # Half of the digits are more than rounding takes; a wrong rule leaves none.
    if off > torch.finfo(theta.dtype).eps ** 0.5 * float(plain.norm() * v.detach()[0].norm()):
        raise NotImplementedError(
            f"{WHERE}: slopes of the loss must agree with those of a backward pass; got a difference of {off:.2g} for "
            f"a derivative of length {float(plain.norm()):.2g}: an operation has a wrong rule in torch "
            f"{torch.__version__}, or the loss differs from call to call; write the operation out."
        )


def require_finite(losses: Losses, theta: Tensor, x: Tensor) -> None:
    """The loss has values and derivatives, which are not zero almost everywhere.

    Raises:
        ValueError: If not.
    """
    values = losses(theta, x)
    bad = int((~values.isfinite()).any(1).sum())
    if bad:
        raise ValueError(
            f"{WHERE}: the loss must be finite at the samples; got nan or inf for {bad} of "
            f"{len(values)}; look for divisions and logarithms in it, or sample smaller parameters."
        )
    scale = losses.scale(theta, x)
    if not bool(scale.isfinite().all()):
        raise ValueError(
            f"{WHERE}: the loss must have a finite derivative at the samples; got nan or inf; "
            "look for square roots and norms at zero in it."
        )
    flat = int((scale == 0).sum())
    if flat > (1 - SLOPED) * len(scale):
        raise ValueError(
            f"{WHERE}: the loss must depend on the parameters, at a tenth of the samples at least; got a derivative of "
            f"zero at {flat} of {len(scale)}; compute it from the parameters that it is given, without detach() or "
            ".data, and sample where it is not constant."
        )


def own_action(action: Any, params: int, data: int, options: Mapping[str, Any] | None) -> Action:
    """A copy of an action that the user made.

    Raises:
        ValueError: If it is none, is for other sizes, or comes with options.
    """
    if not isinstance(action, Action):
        raise ValueError(
            f"{WHERE}: action must be a name or an Action; got {action!r}; derive a class from "
            "discovery.actions.Action."
        )
    if (action.params, action.data) != (params, data):
        raise ValueError(
            f"{WHERE}: an action must be made for the sizes of the samples, {params} parameters and {data} numbers of "
            f"data; got one for {action.params} and {action.data}; make it anew."
        )
    if options:
        raise ValueError(
            f"{WHERE}: options are for actions by name; got {', '.join(options)} with an Action; give them to its "
            "class."
        )
    return deepcopy(action)


@torch.no_grad()
def require_shapes(action: Action, h: Tensor, theta: Tensor, x: Tensor) -> None:
    """An action returns parameters, and its generators are of its group.

    Raises:
        ValueError: If shapes are others.
    """
    if h.dim() != 3 or h.shape[1:] != (action.size, action.size):
        raise ValueError(
            f"{WHERE}: generators must be (k, m, m) with m = {action.size}, the size of {type(action).__name__}; got "
            f"{tuple(h.shape)}; set its size, or its generators()."
        )
    one = torch.eye(action.size).to(theta)
    for what, found, shape in (
        ("moved parameters", action(one, theta, x), theta.shape),
        ("directions", action.directions(h, theta, x), (len(theta), len(h), theta.shape[1])),
    ):
        if found.shape != shape:
            raise ValueError(
                f"{WHERE}: {type(action).__name__} must return {what} of shape {tuple(shape)}; got "
                f"{tuple(found.shape)}; look at its forward."
            )
