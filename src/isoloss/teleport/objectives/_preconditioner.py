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
        Dissertation, Eq. (5.7). Differs: eps is added to the root, not under it, where torch's optimizers do so.
    """
    return {
        name: _rule(point, name)(widen(g), point.state.get(name, {}), point.options.get(name, {}))
        for name, g in point.gradients.items()
    }


def divides_by_nothing(point: Point) -> bool:
    """Is an optimizer that will divide by second moments still too early in its training to do so?"""
    return any(
        _rule(point, name) is _radam
        and _rectified(_next(point.state.get(name, {})), _beta(point.options[name])) is None
        for name in point.gradients
    )


def _adagrad(g: Tensor, state: State, options: State) -> Tensor:
    total = state.get("sum", options.get("initial_accumulator_value", 0.0))
    return 1.0 / ((total + g.square()).sqrt() + options.get("eps", 1e-10))


def _rmsprop(g: Tensor, state: State, options: State) -> Tensor:
    alpha = options.get("alpha", 0.99)
    second = _averaged(state.get("square_avg"), g.square(), alpha)
    if options.get("centered", False):
        second = (second - _averaged(state.get("grad_avg"), g, alpha).square()).clamp_min(0.0)
    return 1.0 / (second.sqrt() + options.get("eps", 1e-8))


def _adadelta(g: Tensor, state: State, options: State) -> Tensor:
    rho, eps = options["rho"], options.get("eps", 1e-6)
    steps = state.get("acc_delta", torch.zeros_like(g))
    return ((steps + eps) / (_averaged(state.get("square_avg"), g.square(), rho) + eps)).sqrt()


def _adam(g: Tensor, state: State, options: State) -> Tensor:
    beta = _beta(options)
    second = _averaged(state.get("exp_avg_sq"), g.square(), beta)
    if options.get("amsgrad", False) and "max_exp_avg_sq" in state:
        second = torch.maximum(second, state["max_exp_avg_sq"])
    return 1.0 / ((second / (1.0 - beta ** _next(state))).sqrt() + options.get("eps", 1e-8))


def _radam(g: Tensor, state: State, options: State) -> Tensor:
    beta, steps = _beta(options), _next(state)
    factor = _rectified(steps, beta)
    if factor is None:
        return torch.ones_like(g)
    second = _averaged(state.get("exp_avg_sq"), g.square(), beta)
    return factor * (1.0 - beta**steps) ** 0.5 / (second.sqrt() + options.get("eps", 1e-8))


def _adamax(g: Tensor, state: State, options: State) -> Tensor:
    here = g.abs() + options.get("eps", 1e-8)
    return 1.0 / (torch.maximum(_beta(options) * state["exp_inf"], here) if "exp_inf" in state else here)


def _none(g: Tensor, state: State, options: State) -> Tensor:
    return torch.ones_like(g)


# By the entry of the state that holds the second moment, and by settings that, of the optimizers that are not listed
# before it, only such ones have.
RULES: dict[tuple[str, frozenset[str]], Rule] = {
    ("sum", frozenset({"lr_decay"})): _adagrad,  # Adagrad
    ("square_avg", frozenset({"centered"})): _rmsprop,  # RMSprop
    ("square_avg", frozenset({"rho"})): _adadelta,  # Adadelta
    ("exp_avg_sq", frozenset({"amsgrad"})): _adam,  # Adam, AdamW
    ("exp_avg_sq", frozenset({"momentum_decay"})): _adam,  # NAdam
    ("exp_avg_sq", frozenset({"betas", "decoupled_weight_decay"})): _radam,  # RAdam
    ("exp_inf", frozenset({"betas", "differentiable", "capturable"})): _adamax,  # Adamax
    ("momentum_buffer", frozenset({"dampening"})): _none,  # SGD
}


def _rule(point: Point, name: str) -> Rule:
    options, state = point.options.get(name, {}), point.state.get(name, {})
    moments = [k for k, x in state.items() if isinstance(x, Tensor) and x.shape == point.tensors[name].shape]
    for (entry, settings), rule in RULES.items():
        if settings <= options.keys() and (entry in state or not moments or rule is _none):
            return rule
    if moments:
        known = ", ".join(dict.fromkeys(entry for entry, _ in RULES))
        raise ValueError(
            f"Mahalanobis: the optimizer's second moments must be known, one of {known}; got "
            f"{', '.join(state)} at {name}; choose GradientNorm, or Custom(lambda point, w: ...) with the "
            "preconditioner of this optimizer, which solvers evaluate."
        )
    return _none


def _averaged(average: Tensor | None, new: Tensor, beta: float) -> Tensor:
    return (1.0 - beta) * new if average is None else beta * average + (1.0 - beta) * new


def _beta(options: State) -> float:
    return float(options.get("betas", (0.9, 0.999))[1])


def _next(state: State) -> float:
    """The number of the next step, from 1."""
    return float(state.get("step", 0.0)) + 1.0


def _rectified(steps: float, beta: float) -> float | None:
    """RAdam's rectification of the variance; None while that is not tractable, and nothing is divided by it."""
    most = 2.0 / (1.0 - beta) - 1.0
    length = most - 2.0 * steps * beta**steps / (1.0 - beta**steps)
    if length <= 5.0:
        return None
    return ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
