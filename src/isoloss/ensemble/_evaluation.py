"""All members of an ensemble at once, by `torch.vmap`, recorded, or one after another."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.func import vmap
from torch.nn import functional
from torch.nn.modules import module
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
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
SETTINGS = (bool, int, float, str, tuple, NoneType, FunctionType, BuiltinFunctionType)
# Views, which do nothing where shape and strides stay.
VIEWS = ("aten.permute.default", "aten.view.default", "aten.expand.default", "aten.transpose.int")


def settings(part: nn.Module) -> tuple | None:
    """What a replay of a module relies on; None if its forward may do more than compute.

    The code of torch.nn's own modules is known: in eval mode, without hooks, they only compute, and what they compute
    is determined by their settings and inputs. Of other classes nothing is known.
    """
    kind, state = type(part), vars(part)
    if part.training or kind is not getattr(nn, kind.__name__, None) or "forward" in state:
        return None
    if any(state[hooks] for hooks in HOOKS):
        return None
    found: list[Any] = [kind, *(v for v in state.values() if type(v) in SETTINGS)]
    for child in part._modules.values():
        below = () if child is None else settings(child)
        if below is None:
            return None
        found.append(below)
    return tuple(found)


def undisturbed(inputs: Any) -> bool:
    """Are the inputs plain tensors, and does nobody step in (transforms of torch.func, modes, compilers, hooks)?

    Under autocast the products of a recording would be cast, those of vmap are not: there nothing is replayed.
    """
    args, kwargs = inputs
    return (
        not kwargs
        and all(type(x) is Tensor and not torch.is_autocast_enabled(x.device.type) for x in args)
        and peek_interpreter_stack() is None
        and not torch._C._len_torch_function_stack()
        and not torch._C._len_torch_dispatch_stack()
        and not torch.compiler.is_compiling()
        and not (module._global_forward_hooks or module._global_forward_pre_hooks)
    )


class Recorder:
    """Evaluates all together and keeps the list of operations, to replay it for inputs of the same shapes.

    Replaying spares what vmap and the modules cost per operation, which is most of the time for small networks. What
    the modules do besides operations on tensors (hooks, branches on numbers) is done when recording only.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Callable[..., Tensor] | None] = {}

    def __call__(self, one: One, own: Tensors, shared: Tensors, inputs: Any, chunk: int | None) -> Tensor:
        """See `mapped`."""
        leaves, structure = tree_flatten(inputs)
        rest = [repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor)]
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = (repr(structure), *rest, *_like(own, tensors), chunk)
        if self._known.get(key) is None:
            self._keep(key, _record(one, own, shared, inputs, chunk))
        replay = self._known[key]
        assert replay is not None
        return replay(*own.values(), *shared.values(), *tensors)

    def again(
        self, one: One, own: Tensors, shared: Tensors, inputs: Any, chunk: int | None, about: tuple
    ) -> Tensor | None:
        """The same from the second time on; None at the first, and where nothing could be recorded.

        Args:
            one: See `mapped`, as for the tensors, the inputs, which are tensors, and chunk.
            own: Stacked tensors.
            shared: Tensors of all members.
            inputs: Arguments, all tensors, and no others by name.
            chunk: Members at a time.
            about: What else the recording depends on.
        """
        tensors = inputs[0]
        key = (about, len(tensors), *_like(own, tensors), chunk)
        if key not in self._known:
            self._keep(key, _pending)
            return None
        replay = self._known[key]
        if replay is _pending:
            try:
                replay = _record(one, own, shared, inputs, chunk)
            except Exception:  # whatever cannot be recorded: vmap says what is wrong, if anything is
                replay = None
            self._known[key] = replay
        return None if replay is None else replay(*own.values(), *shared.values(), *tensors)

    def _keep(self, key: Any, replay: Callable[..., Tensor]) -> None:
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = replay

    def __deepcopy__(self, memo: dict) -> "Recorder":
        return Recorder()

    def __reduce__(self) -> tuple:
        return Recorder, ()


def _pending(*tensors: Tensor) -> Tensor:
    raise AssertionError("met once, not recorded yet")


def _like(own: Tensors, tensors: Iterable[Tensor]) -> tuple:
    """All that the operations depend on, but for values and modules."""
    first = next(iter(own.values()))
    kind = first.device.type
    cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return first.dtype, first.device, cast, *((t.shape, t.dtype, t.device) for t in tensors)


def _record(one: One, own: Tensors, shared: Tensors, inputs: Any, chunk: int | None) -> Callable[..., Tensor]:
    """A function of the tensors (own, shared, inputs) that does what `mapped` does with them."""
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second, for those who record

    leaves, structure = tree_flatten(inputs)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
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

    with torch.no_grad():
        recording = make_fx(together)(*own.values(), *shared.values(), *(leaves[i] for i in places))
    return _without_idle_views(recording).forward


def _without_idle_views(recording: Any) -> Any:
    """Leave out the views that change nothing, of which vmap makes many."""
    for node in recording.graph.nodes:
        if str(node.target) in VIEWS:
            before, after = node.args[0].meta["tensor_meta"], node.meta["tensor_meta"]
            if (before.shape, before.stride) == (after.shape, after.stride):
                node.replace_all_uses_with(node.args[0])
    recording.graph.eliminate_dead_code()
    recording.recompile()
    return recording


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
