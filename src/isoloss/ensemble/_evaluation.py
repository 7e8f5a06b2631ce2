"""All members of an ensemble at once, by `torch.vmap`, recorded, or one after another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

Tensors = dict[str, Tensor]
One = Callable[[Tensors, Tensors, Any], Tensor]
Randomness = Literal["different", "same", "error"]


def looped(one: One, own: Tensors, shared: Tensors, inputs: Any) -> Tensor:
    """One member after another; whatever a model does, this can do."""
    count = len(next(iter(own.values())))
    return torch.stack([one({k: t[i] for k, t in own.items()}, shared, inputs) for i in range(count)])


def mapped(
    one: One, own: Tensors, shared: Tensors, inputs: Any, randomness: Randomness, chunk: int | None
) -> Tensor:
    """All together; what only depends on shared tensors and the inputs is computed once.

    Args:
        one: The outputs of one member, from its own tensors, those that it shares, and the inputs.
        own: Stacked tensors by name, the first dimension is the member.
        shared: Tensors of all members.
        inputs: Anything.
        randomness: What dropout does, see `torch.vmap`.
        chunk: Members that are evaluated at a time; all if None.
    """
    with _without_fast_attention():
        return vmap(lambda own: one(own, shared, inputs), randomness=randomness, chunk_size=chunk)(own)


@contextmanager
def _without_fast_attention() -> Iterator[None]:
    """vmap has no rule for the fused attention that modules take in eval mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# Lists of operations that are kept; inputs of ever new shapes must not fill the memory.
KEPT = 64


class Recorder:
    """Evaluates all together and keeps the list of operations, to replay it for inputs of the same shapes.

    Replaying spares what vmap and the modules cost per operation, which is most of the time for small networks. What
    the modules do besides operations on tensors (hooks, branches on numbers) is done when recording only.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Callable[..., Tensor]] = {}

    def __call__(self, one: One, own: Tensors, shared: Tensors, inputs: Any, chunk: int | None) -> Tensor:
        """See `mapped`."""
        from torch.fx.experimental.proxy_tensor import make_fx  # half a second, for those who record

        leaves, structure = tree_flatten(inputs)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        rest = [repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor)]
        tensors = [leaves[i] for i in places]
        first = next(iter(own.values()))
        like = [(t.shape, t.dtype, t.device) for t in tensors]
        key = (repr(structure), *rest, *like, first.dtype, first.device, chunk)
        weights = (*own.values(), *shared.values())
        if key not in self._known:
            names = (*own, *shared)

            def together(*flat: Tensor) -> Tensor:
                named = dict(zip(names, flat, strict=False))
                filled = list(leaves)
                for i, t in zip(places, flat[len(names) :], strict=True):
                    filled[i] = t
                with JointLinear():
                    return mapped(
                        one,
                        {n: named[n] for n in own},
                        {n: named[n] for n in shared},
                        tree_unflatten(filled, structure),
                        "error",
                        chunk,
                    )

            if len(self._known) >= KEPT:
                self._known.clear()
            with torch.no_grad():
                self._known[key] = make_fx(together)(*weights, *tensors).forward
        return self._known[key](*weights, *tensors)

    def __deepcopy__(self, memo: dict) -> "Recorder":
        return Recorder()

    def __reduce__(self) -> tuple:
        return Recorder, ()


class JointLinear(TorchFunctionMode):
    """Under it, linear layers of all members are one matrix product where they have the same inputs."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Take over `torch.nn.functional.linear`, and leave everything else."""
        kwargs = kwargs or {}
        if func is functional.linear:
            x, weight, bias = (lambda input, weight, bias=None: (input, weight, bias))(*args, **kwargs)
            return _Linear.apply(x, weight, bias)
        return func(*args, **kwargs)


class _Linear(torch.autograd.Function):
    """A linear layer with a rule for stacked weights; never differentiated, for it is only recorded."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def vmap(info, dims, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        if dims[1] is None and dims[2] is None:
            return functional.linear(x.movedim(dims[0], 0), weight, bias), 0
        w = _first(weight, dims[1], info)
        b = None if bias is None else _first(bias, dims[2], info)
        if dims[0] is None:
            z = functional.linear(x, w.flatten(0, 1), None if b is None else b.flatten())
            z = z.unflatten(-1, w.shape[:2])
            return z, z.dim() - 2
        x = x.movedim(dims[0], 0)
        rows = x.reshape(len(x), -1, x.shape[-1])
        z = torch.bmm(rows, w.mT) if b is None else torch.baddbmm(b[:, None], rows, w.mT)
        return z.reshape(*x.shape[:-1], z.shape[-1]), 0


def _first(t: Tensor, dim: int | None, info) -> Tensor:
    """The stacked tensor with the member first; one that all share is repeated, as a view."""
    return t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
