"""Every pair of adjacent layers of a model, for curves."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isoloss.dependent import pairs
from isoloss.dependent._chain import _leaves
from isoloss.finding import find
from isoloss.symmetry import Symmetries
from isoloss.teleport.curves._between import leading
from isoloss.teleport.curves._layers import LayerPair

Call = tuple[nn.Module, Tensor, Tensor]


def layer_pairs(along: Symmetries | nn.Module, inputs: Tensor) -> list[LayerPair]:
    """Every pair of adjacent layers, linear or convolutional, on a batch: those of `isoloss.dependent.pairs`.

    What lies between two layers is read off one run of the model. Where modules without parameters follow one another,
    curves pass through them in closed form; where anything else happens (a function in `forward`, a branch), through
    the model itself, by nested forward differentiation.

    Args:
        along: What `isoloss.find` has found; or a model, for which `find` is then asked.
        inputs: The batch, as the model takes it.

    Raises:
        ValueError: If there is no pair, or the model draws random numbers between two layers.
    """
    symmetries = find(along, inputs) if isinstance(along, nn.Module) else along
    model, chosen = symmetries.model, pairs(symmetries)
    calls = _recorded(model, inputs)
    found = []
    for pair in chosen:
        between = _between(calls, pair.producer.module, pair.reader.module)
        if between is not None and len(between) == 1 and leading(nn.Sequential(*between)) is between[0]:
            activation: nn.Module | None = between[0]
        else:
            activation = None if between is None else nn.Sequential(*between)
        inverse = None if activation is None else _inverse(leading(activation))
        found.append(LayerPair(model, inputs, pair.producer.name, pair.reader.name, activation, inverse))
    return found


def _recorded(model: nn.Module, inputs: Tensor) -> list[Call]:
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
        calls.append((module, args[0], output))

    handles = [m.register_forward_hook(keep) for m in _leaves(model)]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _between(calls: list[Call], first: nn.Module, second: nn.Module) -> list[nn.Module] | None:
    """The modules between two, None if what happens there is more than one module after another."""
    where = [i for i, (m, _, _) in enumerate(calls) if m is first or m is second]
    if len(where) != 2:
        return None
    run = calls[where[0] : where[1] + 1]
    chained = all(taken is given for (_, _, given), (_, taken, _) in zip(run, run[1:], strict=False))
    modules = [m for m, _, _ in run[1:-1]]
    for m in modules:
        if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0:
            raise ValueError(
                f"layer_pairs: every run must compute the same; got {type(m).__name__} in training mode; "
                "call model.eval() first."
            )
    plain = not any(True for m in modules for _ in m.parameters())
    return modules if chained and plain else None


def _inverse(activation: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
    if isinstance(activation, nn.LeakyReLU) and activation.negative_slope > 0:
        return lambda y: torch.where(y > 0, y, y / activation.negative_slope)
    return activation if isinstance(activation, nn.Identity) else None
