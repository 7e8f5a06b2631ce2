"""What one step sees of the samples of many tasks."""

import torch

from isoloss.learn._tensors import Tensors


def gather(data: Tensors, size: int, generator: torch.Generator | None = None) -> Tensors:
    """Some samples of every task, the same ones in all tensors of a task, none twice.

    Args:
        data: (n, samples, *shape) by name.
        size: How many samples to keep; all in order if there are no more.
        generator: On the CPU, wherever the data are.

    Returns:
        (n, size, *shape) by name.
    """
    n, samples = next(iter(data.values())).shape[:2]
    if size >= samples:
        return data
    rows = torch.rand(n, samples, generator=generator).argsort(1)[:, :size]
    tasks = torch.arange(n).unsqueeze(1)
    return {name: x[tasks.to(x.device), rows.to(x.device)] for name, x in data.items()}
