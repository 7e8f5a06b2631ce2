"""Checks of points."""

from torch import Tensor


def check_last_axis(where: str, w: Tensor, size: int) -> None:
    """Refuse points of the wrong size."""
    if w.dim() == 0 or w.shape[-1] != size:
        raise ValueError(
            f"{where}: points must have shape (*batch, {size}); got {tuple(w.shape)}. "
            "Put the variables on the last axis."
        )
