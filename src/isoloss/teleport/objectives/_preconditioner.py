"""The diagonal by which adaptive optimizers multiply the gradient, read from their state."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import widen

State = Mapping[str, Any]
Rule = Callable[[Tensor, State, State], Tensor]


def preconditioner(point: Point) -> dict[str, Tensor]:
    r"""The diagonal :math:`a` of :math:`\Delta w = -\eta\, a \odot \nabla L`, momentum aside, for every gradient.

    It is what the optimizer's next step divides by: its second moment with the current gradient already in it,
    :math:`G_{t+1}`. So it is known before the first step, too.

    Returns:
        Tensors of the parameters' shapes, in float32 at least; ones for optimizers that divide by nothing.

    Raises:
        ValueError: If the optimizer is none of `RULES`, and keeps second moments of its own.

    References:
        Dissertation, Eq. (5.7). Differs: eps is added to the root, not under it, as torch's optimizers do.
    """
    return {
        name: 1.0 / _rule(point, name)(widen(g), point.state.get(name, {}), point.options.get(name, {}))
        for name, g in point.gradients.items()
    }


def _adagrad(g: Tensor, state: State, options: State) -> Tensor:
    total = state.get("sum", options.get("initial_accumulator_value", 0.0))
    return (total + g.square()).sqrt() + options.get("eps", 1e-10)


def _rmsprop(g: Tensor, state: State, options: State) -> Tensor:
    alpha = options.get("alpha", 0.99)
    second = _averaged(state.get("square_avg"), g.square(), alpha)
    if options.get("centered", False):
        second = (second - _averaged(state.get("grad_avg"), g, alpha).square()).clamp_min(0.0)
    return second.sqrt() + options.get("eps", 1e-8)


def _adam(g: Tensor, state: State, options: State) -> Tensor:
    beta = float(options.get("betas", (0.9, 0.999))[1])
    second = _averaged(state.get("exp_avg_sq"), g.square(), beta)
    if options.get("amsgrad", False) and "max_exp_avg_sq" in state:
        second = torch.maximum(second, state["max_exp_avg_sq"])
    steps = float(state.get("step", 0.0)) + 1.0
    return (second / (1.0 - beta**steps)).sqrt() + options.get("eps", 1e-8)


def _none(g: Tensor, state: State, options: State) -> Tensor:
    return torch.ones_like(g)


# By the entry of the state that holds the second moment, and by a setting that only such optimizers have.
RULES: dict[tuple[str, str], Rule] = {
    ("sum", "lr_decay"): _adagrad,  # Adagrad
    ("square_avg", "centered"): _rmsprop,  # RMSprop
    ("exp_avg_sq", "amsgrad"): _adam,  # Adam, AdamW
    ("momentum_buffer", "dampening"): _none,  # SGD
}


def _rule(point: Point, name: str) -> Rule:
    options = point.options.get(name, {})
    for (_, setting), rule in RULES.items():
        if setting in options:
            return rule
    if any(
        isinstance(x, Tensor) and x.shape == point.tensors[name].shape
        for x in point.state.get(name, {}).values()
    ):
        known = ", ".join(entry for entry, _ in RULES)
        raise ValueError(
            f"Mahalanobis: the optimizer's second moments must be known, one of {known}; got "
            f"{', '.join(point.state[name])} at {name}; choose GradientNorm, or Adagrad, RMSprop, Adam, AdamW or SGD."
        )
    return _none


def _averaged(average: Tensor | None, new: Tensor, beta: float) -> Tensor:
    return (1.0 - beta) * new if average is None else beta * average + (1.0 - beta) * new
