"""Initializations of one module, many at once."""

from collections.abc import Collection
from copy import deepcopy

import torch
from torch import nn

from isoloss.learn._tensors import Tensors


def reset(
    module: nn.Module, names: Collection[str], n: int, generator: torch.Generator | None = None
) -> Tensors:
    """Weights as the module's own `reset_parameters` draw them.

    Args:
        module: Left as it is.
        names: Of the parameters that are wanted.
        n: How many times to draw.
        generator: Decides the seed that the global generator has meanwhile.

    Returns:
        (n, *shape) by name.
    """
    twin = deepcopy(module)
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        drawn = []
        for _ in range(n):
            twin.apply(_reset_one)
            drawn.append({name: p.detach().clone() for name, p in twin.named_parameters() if name in names})
    return {name: torch.stack([weights[name] for weights in drawn]) for name in names}


def check_resets(module: nn.Module, names: Collection[str]) -> None:
    """Refuse a module that does not say how these parameters are drawn.

    Raises:
        ValueError: If the submodule that owns one has no `reset_parameters`.
    """
    for name in names:
        owner = module.get_submodule(name.rpartition(".")[0])
        if _rule(owner) is None:
            raise ValueError(
                f"ModuleTasks: a module with weights must have reset_parameters; got {type(owner).__name__}, the owner "
                f"of {name}, without. Write one, or pass initialize."
            )


def _rule(part: nn.Module):
    return getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)


def _reset_one(part: nn.Module) -> None:
    rule = _rule(part)
    if rule is not None:
        rule()
