"""Sharpness relative to the size of each parameter: the same at every rescaling of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from isoloss.landscape._hessian import DENSE, Hessian, check_at, check_closure
from isoloss.teleport import Loss, Point, Sharpness


def point(model: nn.Module, loss: Callable[[], Tensor], at: Mapping[str, Tensor] | None = None) -> Point:
    """Where the functions shared with teleportation are evaluated: `Sharpness(...).evaluate(point(model, loss), {})`.

    Args:
        model: The model; its parameters that require gradients are those that sharpness displaces.
        loss: Returns the loss from a forward pass of the model.
        at: Parameters and buffers by name, where the point is not the model's own.

    Raises:
        ValueError: If nothing is trained, the loss takes arguments or uses none of what is trained, or `at` has names
            or shapes that the model has not.
    """
    given = {} if at is None else dict(at)
    check_closure(loss, "landscape.point")
    check_at(model, given, "landscape.point")
    trained = {n: given.get(n, p).detach() for n, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError(
            "landscape.point: there must be parameters that require gradients; got none; unfreeze some."
        )
    rest = {n: t.detach() for n, t in given.items() if n not in trained}
    whole = Loss(loss, model, list(trained), where="landscape.point")
    whole.check_dependence()
    return Point(trained | rest, {}, dict.fromkeys(trained, 1.0), lambda tensors: whole(rest | dict(tensors)))


def adaptive_sharpness(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    sharpness: Sharpness | None = None,
    at: Mapping[str, Tensor] | None = None,
) -> Tensor:
    r"""What displacements in proportion to each parameter add to the loss, on average.

    .. math:: \frac{1}{|T||D|} \sum_{t, d} L(w + t\, |w| \odot d) - L(w), \qquad \lVert d \rVert = 1

    It is the same at every point of the orbit of positive scalings, for the same directions: there
    :math:`s w + t\,|s w| \odot d = s (w + t\,|w| \odot d)`. Signs and permutations only reorder the directions, so that
    their mean is the same in the limit of many. Matrices mix parameters, and change it.

    Args:
        model: The model.
        loss: Returns the loss from a forward pass of the model.
        sharpness: Displacements, directions and seed; lengths are relative to each parameter. By default those of the
            paper, 4,000 forward passes.
        at: Parameters and buffers by name, where the point is not the model's own.

    References:
        Kwon et al. (2021), ASAM, arXiv:2102.11600, Definition 1 and Theorem 1. Differs: the mean over directions, as
        in Eq. (5.1) of the dissertation, instead of the maximum.
    """
    chosen = Sharpness(excess=True) if sharpness is None else sharpness
    here = point(model, loss, at)
    origin = here.tensors
    relative = Point(
        {n: torch.zeros_like(t) for n, t in here.parameters.items()},
        {},
        here.rates,
        lambda d: here.loss_for("adaptive_sharpness")(
            {n: origin[n] + origin[n].abs() * x for n, x in d.items()}
        ),
    )
    value = chosen.evaluate(relative, {})
    return value if chosen.excess else value - here.loss_for("adaptive_sharpness")(origin)


def adaptive_trace(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    at: Mapping[str, Tensor] | None = None,
    limit: int = DENSE,
) -> Tensor:
    r"""The trace of the Hessian in units of the parameters: the second order of `adaptive_sharpness`.

    .. math:: \sum_i w_i^2 H_{ii} = \operatorname{tr}(\operatorname{diag}(|w|) H \operatorname{diag}(|w|))

    The same at every point of the orbit of scalings, signs and permutations, at minima and elsewhere:
    :math:`H_{ii}` goes with :math:`s_i^{-2}`.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`.
        at: Parameters and buffers by name, where the point is not the model's own.
        limit: Most parameters.
    """
    hessian = Hessian(model, loss, at=at)
    return (hessian.flat(hessian.tensors).square() * hessian.diagonal(limit)).sum()
