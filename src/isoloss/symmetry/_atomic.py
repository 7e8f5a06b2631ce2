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
        ValueError: If a shape differs, a tensor has no data, or a new value is not finite where the old one is.
    """
    pairs = list(pairs)
    for name, old, new in pairs:
        if old.is_meta:
            raise ValueError(
                f"{where}: a move needs values to write; got the meta tensor {name}; "
                "materialize the model first, with model.to_empty(device=...) and its weights."
            )
        if old.shape != new.shape:
            raise ValueError(
                f"{where}: a moved tensor keeps its shape; got {tuple(new.shape)} for {name} of shape "
                f"{tuple(old.shape)}; these symmetries belong to another model."
            )
    # One flag per tensor and a single read: a device is asked to wait once, not once per tensor.
    finite = torch.stack([_finite(new) for _, _, new in pairs]).tolist() if pairs else []
    for (name, old, _), good in zip(pairs, finite, strict=True):
        if not good:
            cause = "it was not finite before" if not _finite(old) else "the group element is too large for its dtype"
            raise ValueError(
                f"{where}: a move must give finite values; got inf or nan in {name} ({cause}); "
                "nothing was changed; use a smaller element."
            )
    for _, old, new in pairs:
        old.copy_(new)


def _finite(x: Tensor) -> Tensor:
    # The sum of finite numbers may overflow, the largest of them cannot, and nan and inf pass through it.
    return x.abs().amax().isfinite() if x.numel() else torch.ones((), dtype=torch.bool, device=x.device)
