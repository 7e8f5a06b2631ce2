"""Checks of arguments that may be traced."""

from torch import Tensor


def holds(condition: Tensor) -> bool:
    """Is the condition true everywhere? Yes where nobody can know: inside ``torch.func.vmap`` values are hidden."""
    try:
        return bool(condition.all())
    except RuntimeError:
        return True


def check_last_axis(where: str, w: Tensor, size: int) -> None:
    """Refuse points of the wrong size."""
    if w.dim() == 0 or w.shape[-1] != size:
        raise ValueError(
            f"{where}: points must have shape (*batch, {size}); got {tuple(w.shape)}. "
            "Put the variables on the last axis."
        )
