"""The world in which a model is recorded and verified: float64 throughout, and the same random numbers every time.

Models cast down on purpose (norms in float32, attention in half precision); here these casts are lifted, so that
a symmetry can be checked to ten digits. What is made without a dtype is float64, whatever torch's default is: that
belongs to the process, and other threads have theirs. Dropout keeps its mean, noise is drawn from a generator of the
world. Eps in norms can be set to zero.
"""

import threading
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from isoloss.finding._noise import Noise

aten = torch.ops.aten
_LOW = (torch.float32, torch.float16, torch.bfloat16)
# Added to a denominator, numbers up to this size are read as the eps of a norm.
SMALL = 1e-3
_EPS = {"eps", "epsilon"}
_SHIFTS = {
    aten.add.Tensor,
    aten.add.Scalar,
    aten.add_.Tensor,
    aten.add_.Scalar,
    aten.clamp_min.default,
    aten.clamp_min_.default,
    aten.clamp.default,
    aten.clamp_.default,
}


class Float64World(TorchDispatchMode):
    """Runs every op in float64, dropout at its mean, noise from its own seed, and optionally norms without eps."""

    def __init__(self, *, without_eps: bool = False):
        super().__init__()
        self.without_eps = without_eps
        self._noise = Noise()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is aten._local_scalar_dense.default:
            self.read(args[0])
            return func(*args)
        if kwargs.get("dtype") in _LOW:
            kwargs["dtype"] = torch.float64
        if func is aten.bernoulli_.float:
            func, args, kwargs = aten.fill_.Scalar, (args[0], args[1] if len(args) > 1 else 0.5), {}
        elif func is aten.native_dropout.default:
            args, kwargs = (args[0], 0.0, True), {}
        args = tuple(
            a.double() if isinstance(a, Tensor) and a.dtype in _LOW and func in _MIXED else a for a in args
        )
        if self.without_eps:
            args, kwargs = _drop_eps(func, args, kwargs)
        args, kwargs = _wide(func, args, kwargs)
        saved = self.will_write(func, args, kwargs)
        result = self._noise.run(func, args, kwargs)
        if not any(r.alias_info for r in func._schema.returns):
            # From integers torch makes floats of its default dtype.
            result = tree_map(
                lambda x: x.double() if isinstance(x, Tensor) and x.dtype in _LOW else x, result
            )
        self.ran(func, args, kwargs, result, saved)
        return result

    def read(self, tensor: Tensor) -> None:
        """Called before the program reads a number out of a tensor."""

    def will_write(self, op, args, kwargs) -> dict[int, Tensor]:
        """Called before an op; what it returns is handed to `ran`."""
        return {}

    def ran(self, op, args, kwargs, result, saved) -> None:
        """Called after an op."""


_MIXED = {
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.convolution.default,
    aten.baddbmm.default,
}


_BY_VALUE = {aten.arange, aten.range, aten.full, aten.scalar_tensor}


def _wide(func, args, kwargs):
    """What an op makes without being told a dtype, in float64 where it would be of torch's default dtype."""
    given = tree_leaves((args, kwargs))
    tensors = [x for x in given if isinstance(x, Tensor)]
    if func is aten.lift_fresh.default:  # of torch.tensor(...)
        return tuple(x.double() if x.dtype in _LOW else x for x in args), kwargs
    if tensors or kwargs.get("dtype") is not None:
        return args, kwargs
    if any(a.name == "dtype" and a.default_value is None for a in func._schema.arguments) and (
        func.overloadpacket not in _BY_VALUE or any(isinstance(x, float) for x in given)
    ):
        return args, kwargs | {"dtype": torch.float64}
    return args, kwargs


def _drop_eps(func, args, kwargs):
    names = [a.name for a in func._schema.arguments]
    args = tuple(0.0 if i < len(names) and names[i] in _EPS and a else a for i, a in enumerate(args))
    kwargs = {k: 0.0 if k in _EPS and v else v for k, v in kwargs.items()}
    if is_small_shift(func, args):
        args = (args[0], 0.0, *args[2:])
    return args, kwargs


def is_small_shift(func, args) -> bool:
    """Does the op add a number so small, or clamp so near zero, that it can only be the eps of a norm?"""
    if func not in _SHIFTS:
        return False
    if func is aten.clamp.default and len(args) > 2 and args[2] is not None:
        return False
    return len(args) > 1 and isinstance(args[1], int | float) and 0 < args[1] <= SMALL


@contextmanager
def settings():
    """For recording: gradients on, and the switches of `Plain`."""
    with Plain(), torch.enable_grad():
        yield


class Plain:
    """Plain attention and no fused paths, for as long as some thread searches.

    These switches belong to the process. The first that enters turns them, the last that leaves puts them back; threads
    that do something else meanwhile get the same numbers from the plain kernels.
    """

    _lock = threading.Lock()
    _inside = 0
    _switches = ExitStack()

    def __enter__(self) -> None:
        with Plain._lock:
            if not Plain._inside:
                Plain._switches.enter_context(sdpa_kernel(SDPBackend.MATH))
                Plain._switches.callback(
                    torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled()
                )
                torch.backends.mha.set_fastpath_enabled(False)
            Plain._inside += 1

    def __exit__(self, *_: object) -> None:
        with Plain._lock:
            Plain._inside -= 1
            if not Plain._inside:
                Plain._switches.close()


@contextmanager
def without_trace(module: nn.Module):
    """Whatever is done to buffers and to plain attributes, caches among them, is undone at the end."""
    tensors: list[tuple[Tensor, Tensor]] = []
    containers: list[tuple[Any, Any]] = []
    seen: set[int] = set()

    def keep(x: Any) -> None:
        if id(x) in seen:
            return
        seen.add(id(x))
        if isinstance(x, Tensor):
            tensors.append((x, x.detach().clone()))
        elif isinstance(x, dict):
            containers.append((x, dict(x)))
            for value in x.values():
                keep(value)
        elif isinstance(x, list):
            containers.append((x, list(x)))
            for value in x:
                keep(value)
        elif isinstance(x, set):
            containers.append((x, set(x)))

    for part in module.modules():
        attributes = vars(part)
        containers.append((attributes, dict(attributes)))
        for key, value in attributes.items():
            if key not in ("_parameters", "_modules"):
                keep(value)
    try:
        yield
    finally:
        for x, before in containers:
            if _same(x, before):  # what is whole is left alone, for another thread may be reading it
                continue
            if isinstance(x, list):
                x[:] = before
            else:
                x.clear()
                x.update(before)
        with torch.no_grad():
            for x, before in tensors:
                if not torch.equal(x, before):
                    x.copy_(before)


def _same(x: Any, before: Any) -> bool:
    """Does a container hold the very same things in the same order?"""
    if len(x) != len(before):
        return False
    if isinstance(x, dict):
        return all(a is b and x[a] is before[b] for a, b in zip(x, before, strict=True))
    return x == before if isinstance(x, set) else all(a is b for a, b in zip(x, before, strict=True))


def copy_in_float64(model: nn.Module) -> nn.Module:
    """A deep copy with parameters, buffers and tensor attributes in float64, without gradients or graph."""
    import copy

    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            # weight_norm in its old form keeps a computed weight, which deepcopy refuses.
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    for p in model.parameters():
        if p.grad is not None:
            memo[id(p.grad)] = None
        if type(p) is nn.Parameter:  # at once in float64, instead of a copy that is then converted
            memo[id(p)] = nn.Parameter(p.detach().to(torch.float64, copy=True), requires_grad=False)
    twin = nn.Module.double(copy.deepcopy(model, memo))  # a module may have a method of that name
    for module in twin.modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) and value.dtype in _LOW:
                setattr(module, key, value.double())
    return twin.requires_grad_(False)
