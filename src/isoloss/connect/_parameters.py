"""Two points of one parameter space, given as models or as tensors by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isoloss.symmetry import Symmetries, named_tensors

Tensors = Mapping[str, Tensor]
Parameters = nn.Module | Tensors


def tensors_of(where: str, source: Parameters) -> dict[str, Tensor]:
    """The parameters and buffers by name, without their graphs.

    Raises:
        ValueError: If it is neither a model nor a mapping of tensors.
    """
    if isinstance(source, nn.Module):
        return {n: t.detach() for n, t in named_tensors(source).items()}
    if not isinstance(source, Mapping) or not all(isinstance(t, Tensor) for t in source.values()):
        raise ValueError(
            f"{where}: a point must be a model or a mapping from names to tensors; got {type(source).__name__}; "
            "pass the model, or dict(model.named_parameters())."
        )
    if not source:
        raise ValueError(f"{where}: a point must have parameters; got none; pass a model with weights.")
    return {n: t.detach() for n, t in source.items()}


def pair_of(where: str, a: Parameters, b: Parameters) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both points, if they have the same names and shapes.

    Raises:
        ValueError: If they are parameters of different architectures.
    """
    one, two = tensors_of(where, a), tensors_of(where, b)
    if lone := sorted(one.keys() ^ two.keys()):
        raise ValueError(
            f"{where}: both points must have the same parameters; got {lone[0]} in one of them only; "
            "compare models of one architecture."
        )
    for name, t in one.items():
        if t.shape != two[name].shape:
            raise ValueError(
                f"{where}: parameters must have the same shapes; got {tuple(t.shape)} and {tuple(two[name].shape)} "
                f"for {name}; compare models of one architecture and width."
            )
    return one, two


def check_symmetries(where: str, symmetries: Symmetries, tensors: Tensors) -> None:
    """Refuse symmetries that are none, or that belong to other parameters.

    Raises:
        ValueError: If there is no symmetry, or a parameter that one moves is missing.
    """
    if not isinstance(symmetries, Symmetries):
        raise ValueError(
            f"{where}: symmetries must be what isoloss.find returns; got {type(symmetries).__name__}; "
            "call isoloss.find(model, inputs), or wrap your own: Symmetries([...])."
        )
    if not len(symmetries):
        raise ValueError(
            f"{where}: there must be a symmetry to move along; got none; "
            "print isoloss.find(model, inputs): its notes say what it could not understand."
        )
    for name in dict.fromkeys(n for s in symmetries for n in (*s.parameters, *s.reads)):
        if name not in tensors:
            raise ValueError(
                f"{where}: the points must hold every tensor that a symmetry uses; got none named {name}; "
                "pass the models themselves, which have buffers, too, or the symmetries of this architecture."
            )


def moving(tensors: Tensors) -> list[str]:
    """Names of what can move: everything but counters."""
    return [n for n, t in tensors.items() if t.is_floating_point()]


def distance(a: Tensors, b: Tensors, names: list[str]) -> Tensor:
    """The Euclidean distance in float64, over the names."""
    return torch.stack([(a[n].double() - b[n].double()).square().sum() for n in names]).sum().sqrt()
