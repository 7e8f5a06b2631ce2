"""Writing many tensors in place, all of them or none."""

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def write_atomically(pairs: Iterable[tuple[str, Tensor, Tensor]], *, where: str = "act_") -> None:
    """Copy each new value into its tensor, after all have been checked; on failure nothing has changed.

    Args:
        pairs: Triples (name, tensor to write, new value), of equal shapes.
        where: Name of the caller, for the message.

    Raises:
        ValueError: If a shape differs, a tensor cannot be written, or a new value is not finite in its dtype.
    """
    pairs = list(pairs)
    for name, old, new in pairs:
        _check(name, old, new, where)
    pairs = [(name, old, new.to(old.device, old.dtype)) for name, old, new in pairs]
    for (name, old, _), good in zip(pairs, _all_finite([new for *_, new in pairs]), strict=True):
        if not good:
            cause = (
                "it was not finite before"
                if not _finite(old)
                else "the group element is too large for its dtype"
            )
            raise ValueError(
                f"{where}: a move must give finite values; got inf or nan in {name} ({cause}); "
                "nothing was changed; use a smaller element."
            )
    if pairs:
        # One call: an interrupt comes before or after it, never in between.
        torch._foreach_copy_([old for _, old, _ in pairs], [new for *_, new in pairs])


def _check(name: str, old: Tensor, new: Tensor, where: str) -> None:
    if old.is_meta:
        raise ValueError(
            f"{where}: a move needs values to write; got the meta tensor {name}; "
            "materialize the model first, with model.to_empty(device=...) and its weights."
        )
    if old.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError(
            f"{where}: a move writes in place; got {name}, an inference tensor; "
            "make the model outside torch.inference_mode(), or move it inside."
        )
    if any(n > 1 and step == 0 for n, step in zip(old.shape, old.stride(), strict=True)):
        raise ValueError(
            f"{where}: a move writes in place; got {name}, whose entries share memory; "
            "make it contiguous: parameters must not be expanded."
        )
    if old.shape != new.shape:
        raise ValueError(
            f"{where}: a moved tensor keeps its shape; got {tuple(new.shape)} for {name} of shape "
            f"{tuple(old.shape)}; these symmetries belong to another model."
        )


def _all_finite(tensors: list[Tensor]) -> list[bool]:
    # One flag per tensor and one read per device, which is asked to wait once, not once per tensor.
    flags: list[bool] = [False] * len(tensors)
    for device in {t.device for t in tensors}:
        here = [i for i, t in enumerate(tensors) if t.device == device]
        for i, good in zip(here, torch.stack([_finite(tensors[i]) for i in here]).tolist(), strict=True):
            flags[i] = good
    return flags


def _finite(x: Tensor) -> Tensor:
    # The sum of finite numbers may overflow, the largest of them cannot, and nan and inf pass through it.
    return x.abs().amax().isfinite() if x.numel() else torch.ones((), dtype=torch.bool, device=x.device)
