"""What every weight of a network is multiplied with: the vectors that its rows see on one minibatch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from isoloss._patches import patches

aten = torch.ops.aten


@dataclass
class Seen:
    """Where a weight was used, as far as it is understood.

    Attributes:
        rows: First and last (exclusive) of the rows that took part, with the vectors that they were multiplied
            with in rows (float64): so many as there are, or if that is more than they have entries, the triangular
            factor of their Gram matrix instead.
        otherwise: An op that used the weight in some other way, if there was one.
    """

    rows: list[tuple[int, int, Tensor]] = field(default_factory=list)
    otherwise: str | None = None

    def parts(self) -> list[tuple[int, int, Tensor]]:
        """Disjoint ranges of rows, each with all that it was multiplied with; vectors of the same Gram matrix."""
        cuts = sorted({end for low, high, _ in self.rows for end in (low, high)})
        found = []
        for low, high in zip(cuts, cuts[1:], strict=False):
            vectors = [x for a, b, x in self.rows if a <= low and high <= b]
            if vectors:
                found.append((low, high, _fewer(torch.cat(vectors))))
        return found


def layer_inputs(run: Callable[[], object], weights: Mapping[str, Tensor]) -> dict[str, Seen]:
    """Run, and record the inputs of every weight.

    Understood are matrix products with a weight or with some of its rows (linear layers, queries, keys and values
    of attention, packed or not), convolutions in any number of dimensions, grouped or not, but not transposed, and
    under autocast the same with a cast of the weight.

    Args:
        run: Uses the weights, with gradients enabled: fused kernels hide what they multiply.
        weights: The tensors themselves, contiguous, by name.
    """
    with _Recorder(weights) as recorder:
        run()
    return recorder.seen


class _Recorder(TorchDispatchMode):
    """Watches for ops that read the memory of a weight."""

    def __init__(self, weights: Mapping[str, Tensor]):
        super().__init__()
        self.seen = {n: Seen() for n in weights}
        self._weights = weights
        self._name_at = {t.untyped_storage().data_ptr(): n for n, t in weights.items() if t.numel()}
        self._casts: list[Tensor] = []  # kept, so that their memory is not used for something else

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        read = {n: t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and (n := self._name(t))}
        if read and not any(isinstance(t, Tensor) and self._name(t) for t in tree_leaves(out)):  # no view
            understood = self._understood(func, args, out)
            for name in read.keys() - {understood}:
                self.seen[name].otherwise = str(func)
        return out

    def _name(self, t: Tensor) -> str | None:
        return self._name_at.get(t.untyped_storage().data_ptr()) if t.layout == torch.strided else None

    def _understood(self, func, args: Sequence, out) -> str | None:
        """Note the use, and return the name of the weight that it was one of."""
        packet = func.overloadpacket
        if packet is aten._to_copy:
            return self._cast(args[0], out)
        if packet in (aten.mm, aten.addmm):
            a, b = args[-2:]
            # x W^T is how linear layers multiply; W x is the other way.
            return self._product(b.mT, a) or self._product(a, b.mT)
        if packet is aten.convolution:
            return self._convolution(*args)
        return None

    def _cast(self, t: Tensor, out: Tensor) -> str | None:
        """Autocast multiplies with a copy of the weight in another dtype: from here on that counts as the weight."""
        name = self._name(t)
        if name is None or t.shape != self._weights[name].shape or not out.is_contiguous():
            return None
        self._name_at[out.untyped_storage().data_ptr()] = name
        self._casts.append(out)
        return name

    def _product(self, rows: Tensor, x: Tensor) -> str | None:
        """Rows of a weight, times the vectors in the rows of x."""
        name = self._name(rows)
        if name is None or self._name(x) == name:
            return None
        weight = self._weights[name]
        width = prod(weight.shape[1:])
        first, rest = divmod(int(rows.storage_offset() - weight.storage_offset()), width)
        if rest or rows.shape[1] != width or rows.stride() != (width, 1):
            return None
        self.seen[name].rows.append((first, first + rows.shape[0], _fewer(x)))
        return name

    def _convolution(self, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
        name = self._name(weight)
        if name is None or transposed or weight.shape != self._weights[name].shape:
            return None
        height = weight.shape[0] // groups
        for k, part in enumerate(x.chunk(groups, 1)):
            found = x.new_zeros(0, prod(weight.shape[1:]), dtype=torch.float64)
            for some in _few(part, weight):
                vectors = patches(some, weight.shape[2:], stride, padding, dilation)
                found = _fewer(torch.cat([found, _fewer(vectors)]))
            self.seen[name].rows.append((k * height, (k + 1) * height, found))
        return name


def _few(x: Tensor, weight: Tensor, entries: int = 2**22) -> Sequence[Tensor]:
    """The batch in pieces, whose patches have not too many entries."""
    each = x[0].numel() * prod(weight.shape[2:]) if len(x) else 1
    return x.split(max(1, entries // max(1, each)))


def _fewer(x: Tensor) -> Tensor:
    """Vectors of the same span and Gram matrix, no more of them than they have entries."""
    x = x.detach().double()
    return x if len(x) <= x.shape[1] else torch.linalg.qr(x, mode="r").R
