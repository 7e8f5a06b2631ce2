"""Everything that one jump writes: collected, checked, and then written, all of it or nothing."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from isoloss.teleport._squares import BLOCK

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
        self._before: list[tuple[Tensor, Tensor]] = []

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
            smallest, largest = (end ** len(factors) for end in limits)
            factors = [torch.stack(torch.broadcast_tensors(*factors)).prod(0)]
            limits = smallest, largest
        self._scaled.append((name, target, factors, limits, bound))

    @property
    def empty(self) -> bool:
        """Is there nothing to write?"""
        return not self._scaled and not self._replaced

    def replace(self, name: str, target: Tensor, new: Tensor) -> None:
        """Copy a new value into the target."""
        if target.shape != new.shape:
            raise ValueError(
                f"{self._where}: a moved tensor keeps its shape; got {tuple(new.shape)} for {name} of shape "
                f"{tuple(target.shape)}; these symmetries belong to another model."
            )
        self._replaced.append((name, target, new.to(target.dtype)))

    @torch.no_grad()
    def commit(self, *, reversible: bool = False) -> None:
        """Check everything, then write.

        Args:
            reversible: Keep a copy of what is overwritten, for `undo`.

        Raises:
            ValueError: If a value would not be finite; nothing has been written then.
        """
        self._check()
        products = [product for _, target, by, _, _ in self._scaled for product in _in_blocks(target, by)]
        targets, factors = [target for target, _ in products], [factor for _, factor in products]
        if reversible:
            written = {id(t): t for t in (t for _, t, *_ in (*self._scaled, *self._replaced))}
            self._before = [(t, t.clone()) for t in written.values()]
        # One call each: an interrupt comes before or after it, never in between.
        if targets:
            torch._foreach_mul_(targets, factors)
        if self._replaced:
            torch._foreach_copy_([t for _, t, _ in self._replaced], [new for _, _, new in self._replaced])

    @torch.no_grad()
    def undo(self) -> None:
        """Write back, bit for bit, what a reversible commit has overwritten."""
        if self._before:
            torch._foreach_copy_([t for t, _ in self._before], [old for _, old in self._before])
        self._before = []

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
        # A power of floats that is too large raises; a product is infinite.
        safe = prod([largest] * len(factors), start=size) <= torch.finfo(target.dtype).max
        if not safe and not _product(target, factors).to(target.dtype).isfinite().all():
            self._refuse(name, f"its largest entry is {size:.3g} and the largest factor {largest:.3g}")

    def _refuse(self, name: str, cause: str) -> None:
        raise ValueError(
            f"{self._where}: a move must give finite values; got inf or nan in {name} ({cause}); "
            "nothing was changed; use a smaller radius."
        )


def _in_blocks(x: Tensor, factors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The products that scale a tensor; a block of rows takes all its factors while it is in the cache."""
    if len(factors) < 2 or not x.is_cpu or x.numel() <= BLOCK:
        yield from ((x, factor) for factor in factors)
        return
    rows = max(1, BLOCK * x.shape[0] // x.numel())
    for start in range(0, x.shape[0], rows):
        part = slice(start, start + rows)
        for factor in factors:
            along = factor.dim() == x.dim() and factor.shape[0] > 1
            yield x[part], factor[part] if along else factor


def _product(x: Tensor, factors: Sequence[Tensor]) -> Tensor:
    for factor in factors:
        x = x * factor
    return x


def _read(tensors: list[Tensor], numbers: list[Tensor]) -> tuple[list[float], list[float]]:
    """A bound on the entries of every tensor, not finite if one of them is not; and the numbers, in one transfer.

    The bound is the norm, which is read faster than the largest entry; only where it overflows are entries compared.
    """
    full = [t for t in tensors if t.numel()]
    single = {t.dtype for t in full} == {torch.float32}
    norms = list(torch._foreach_norm(full)) if single else [_norm(t) for t in full]
    flat = [*norms, *numbers]
    if len({(x.dtype, x.device) for x in flat}) > 1:
        flat = [x.to(flat[0].device, torch.float64) for x in flat]
    values = torch.stack(flat).tolist() if flat else []
    for i, t in enumerate(full):
        if not values[i] < torch.inf:
            values[i] = float(torch.stack(t.aminmax()).abs().amax())
    sizes = iter(values)
    return [next(sizes) if t.numel() else 0.0 for t in tensors], values[len(full) :]


def _norm(t: Tensor) -> Tensor:
    return torch.linalg.vector_norm(t, dtype=torch.promote_types(t.dtype, torch.float32))
