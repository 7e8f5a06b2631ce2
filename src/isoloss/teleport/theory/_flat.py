"""Losses of named tensors as losses of one flat vector, which is what the theory speaks of."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from isoloss.teleport.theory._derivatives import Loss


def flatten(
    loss: Callable[[Mapping[str, Tensor]], Tensor], tensors: Mapping[str, Tensor]
) -> tuple[Loss, Tensor]:
    """Give a loss of named tensors as a loss of a flat vector, and the vector where they are now.

    Args:
        loss: Such as ``lambda p: criterion(torch.func.functional_call(model, p, x), y)``.
        tensors: Such as ``dict(model.named_parameters())``.

    Example:
        >>> import torch
        >>> tensors = {"a": torch.ones(2), "b": torch.ones(1, 2)}
        >>> flat, w = flatten(lambda t: (t["b"] @ t["a"]).sum(), tensors)
        >>> w.shape, flat(w)
        (torch.Size([4]), tensor(2.))
    """
    shapes = {name: t.shape for name, t in tensors.items()}
    sizes = [shape.numel() for shape in shapes.values()]

    def flat(w: Tensor) -> Tensor:
        parts = w.split(sizes)
        return loss(
            {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        )

    return flat, torch.cat([t.detach().flatten() for t in tensors.values()])
