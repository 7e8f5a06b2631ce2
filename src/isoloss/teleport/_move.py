"""Everything that one jump writes: collected, checked, and then written, all of it or nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

Limits = tuple[Tensor, Tensor]

HALF = (torch.float16, torch.bfloat16)


class Move:
    """Multiplications and replacements of tensors, made in place when all are known to be safe.

    Scaling in place needs no copy of the tensor, and is as atomic as writing a checked copy: no product of a finite
    number, at most m, and of a factor between 0 and c can fail to be finite if m c is finite in the dtype. So the
    largest entry of every tensor is read first, and nothing is written unless all pass.

    Args:
        where: Name of the caller, for messages.
    """

    def __init__(self, where: str):
        self._where = where
        self._scaled: list[tuple[str, Tensor, list[Tensor], Limits, float | None]] = []
        self._replaced: list[tuple[str, Tensor, Tensor]] = []

    def scale(
        self,
        name: str,
        target: Tensor,
        factors: Sequence[Tensor],
        limits: Limits,
        bound: float | None = None,
    ) -> None:
        """Multiply a tensor by factors that broadcast, computed in float32 at least.

        Args:
            name: What it is, for messages.
            target: The tensor.
            factors: What to multiply it by, one after another.
            limits: Bounds from below and above on all entries of the factors, tensors of no dimension.
            bound: A bound on the entries of the target, if one is known; else they are read.
        """
        factors = [f if f.device == target.device else f.to(target.device) for f in factors]
        if target.dtype in HALF and len(factors) > 1:
            # Two products would round twice, to three digits.
            factors = [torch.stack(torch.broadcast_tensors(*factors)).prod(0)]
        self._scaled.append((name, target, factors, limits, bound))

    def replace(self, name: str, target: Tensor, new: Tensor) -> None:
        """Copy a new value into the target."""
        if target.shape != new.shape:
            raise ValueError(
                f"{self._where}: a moved tensor keeps its shape; got {tuple(new.shape)} for {name} of shape "
                f"{tuple(target.shape)}; these symmetries belong to another model."
            )
        self._replaced.append((name, target, new.to(target.dtype)))

    @torch.no_grad()
    def commit(self) -> None:
        """Check everything, then write.

        Raises:
            ValueError: If a value would not be finite; nothing has been written then.
        """
        self._check()
        targets = [target for _, target, factors, _, _ in self._scaled for _ in factors]
        factors = [factor for _, _, factors, _, _ in self._scaled for factor in factors]
        # One call each: an interrupt comes before or after it, never in between.
        if targets:
            torch._foreach_mul_(targets, factors)
        if self._replaced:
            torch._foreach_copy_([t for _, t, _ in self._replaced], [new for _, _, new in self._replaced])

    def _check(self) -> None:
        unknown = [t for _, t, _, _, bound in self._scaled if bound is None] + [
            new for *_, new in self._replaced
        ]
        limits = {id(pair): pair for *_, pair, _ in self._scaled}
        sizes, ends = _read(unknown, [end for pair in limits.values() for end in pair])
        size, known = iter(sizes), dict(zip(limits, zip(ends[::2], ends[1::2], strict=True), strict=True))
        for name, target, by, pair, bound in self._scaled:
            self._check_scaled(name, target, by, known[id(pair)], next(size) if bound is None else bound)
        for name, target, _ in self._replaced:
            if not next(size) < torch.inf:
                finite = bool(target.isfinite().all())
                self._refuse(
                    name, "the element is too large for its dtype" if finite else "it was not finite before"
                )

    def _check_scaled(
        self, name: str, target: Tensor, factors: list[Tensor], limits: tuple[float, float], size: float
    ) -> None:
        smallest, largest = limits
        if not 0.0 < smallest <= largest < torch.inf:
            self._refuse(name, "a factor is zero, infinite or not a number")
        if not size < torch.inf:
            self._refuse(name, "it was not finite before")
        safe = size * largest ** len(factors) <= torch.finfo(target.dtype).max
        if not safe and not _product(target, factors).isfinite().all():
            self._refuse(name, f"its largest entry is {size:.3g} and the largest factor {largest:.3g}")

    def _refuse(self, name: str, cause: str) -> None:
        raise ValueError(
            f"{self._where}: a move must give finite values; got inf or nan in {name} ({cause}); "
            "nothing was changed; use a smaller radius."
        )


def _product(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    for factor in factors:
        x = x * factor
    return x


def _read(tensors: list[Tensor], numbers: list[Tensor]) -> tuple[list[float], list[float]]:
    """Largest absolute value of every tensor, and the numbers, in a single transfer."""
    full = [t for t in tensors if t.numel()]
    ends = [end for t in full for end in t.aminmax()]
    flat = [*ends, *numbers]
    if len({(x.dtype, x.device) for x in flat}) > 1 or ends and ends[0].dtype in HALF:
        flat = [x.to(flat[0].device, torch.promote_types(x.dtype, torch.float32)) for x in flat]
    values = torch.stack(flat).tolist() if flat else []
    sizes = iter([max(-values[2 * i], values[2 * i + 1], key=_nan_first) for i in range(len(full))])
    return [next(sizes) if t.numel() else 0.0 for t in tensors], values[len(ends) :]


def _nan_first(x: float) -> float:
    return torch.inf if x != x else x
