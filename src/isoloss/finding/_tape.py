"""Recording what a module computes: every ATen op, with concrete shapes, in float64, as a functional program.

The recording runs on a copy of the model below autograd and below composite ops, so a handful of primitive ops
covers most modules. Writes in place become new values, and views of what was written are derived again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from isoloss.finding._noise import is_noise
from isoloss.finding._world import Float64World

Key = tuple[str, str]


@dataclass(eq=False)
class Value:
    """A tensor of the recording.

    Attributes:
        shape: Its shape.
        source: ("tensor", name) for parameters and buffers, ("input", "") for inputs, None for what is computed.
        constant: Its value, if it depends on neither parameters nor inputs: noise among them, which is the same in
            every pass.
        parametric: Does it depend on a parameter or buffer?
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    source: Key | None = None
    constant: Tensor | None = None
    parametric: bool = False


@dataclass(eq=False)
class Call:
    """One op: its arguments hold Values where the program had tensors."""

    op: Any
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any
    module: str
    index: int = 0


class Overwrite:
    """The pseudo-op of a write into a view: base with the part that a chain of view ops selects replaced."""

    def __str__(self) -> str:
        return "isoloss.overwrite"


OVERWRITE = Overwrite()
_SHAPED_BY_DATA = {torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default}


@dataclass
class Tape:
    """A recorded program: the calls, which values came in and went out, and where a value decided the way.

    Attributes:
        calls: The ops, in order.
        tensors: Parameters and buffers by name.
        outputs: What must not change: the model's outputs, and every number that it read out of a tensor.
        branches: Modules that read a number that depends on parameters, or whose shapes depend on one.
    """

    calls: list[Call] = field(default_factory=list)
    tensors: dict[str, Value] = field(default_factory=dict)
    outputs: list[Value] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)

    def needed(self) -> list[Call]:
        """The calls that an output depends on, in order."""
        alive = {id(v) for v in self.outputs}
        kept = []
        for call in reversed(self.calls):
            if any(id(v) in alive for v in values_in(call.outputs)):
                alive.update(id(v) for v in values_in((call.args, call.kwargs)))
                kept.append(call)
        return kept[::-1]


def values_in(tree: Any) -> Iterator[Value]:
    """All Values in nested arguments."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from values_in(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from values_in(item)


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """All floating tensors in a model's output: nested lists, dicts, dataclasses, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from tensors_in(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from tensors_in(item)
    elif hasattr(tree, "__dataclass_fields__"):
        for name in tree.__dataclass_fields__:
            yield from tensors_in(getattr(tree, name, None))


@dataclass
class _Region:
    """A storage: the value of the tensor that first owned it, and how often it was written."""

    value: Value
    version: int = 0


@dataclass
class _Place:
    """A tensor object: its region, the view ops that lead to it, and the value it had at a version."""

    region: _Region
    chain: tuple
    value: Value
    version: int


class Recorder(Float64World):
    """Records every op that runs inside it."""

    def __init__(self, tape: Tape, path: list[str]):
        super().__init__()
        self.tape = tape
        self._path = path
        self._places: dict[int, tuple[Tensor, _Place]] = {}
        self._regions: dict[int, _Region] = {}
        # Constants by the storage that they are still read from.
        self._borrowed: dict[int, list[Value]] = {}

    def register(self, tensor: Tensor, value: Value) -> None:
        """Say which value a tensor holds before the program starts."""
        region = _Region(value)
        self._places[id(tensor)] = (tensor, _Place(region, (), value, 0))
        self._regions.setdefault(_memory(tensor), region)

    def read(self, tensor: Tensor) -> None:
        """The program reads a number: it must not change, or the program might take another way."""
        value = self.value_of(tensor)
        if value.constant is None:
            self.tape.outputs.append(value)
        if value.parametric:
            self.tape.branches.append(self._path[-1])

    def value_of(self, tensor: Tensor) -> Value:
        """The value that a tensor holds now."""
        entry = self._places.get(id(tensor))
        if entry is None:
            self.register(tensor, self._unseen(tensor))
            entry = self._places[id(tensor)]
        place = entry[1]
        if place.version != place.region.version:
            place.value = place.region.value
            for op, args, kwargs, pick, shape in place.chain:
                out = Value(shape, tensor.dtype)
                outputs = out if pick is None else [out if i == pick else None for i in range(pick + 1)]
                self._append(op, (place.value, *args), kwargs, outputs)
                place.value = out
            place.version = place.region.version
        return place.value

    def _unseen(self, tensor: Tensor) -> Value:
        place = _memory(tensor)
        region = self._regions.get(place) if place else None
        if region is None or region.value.constant is not None:
            return self._new(tensor, constant=True)
        # A view that was made before the recording or past it: no rule knows it, so what it shows stays put.
        value = Value(tuple(tensor.shape), tensor.dtype)
        of_tensor = region.value.source is not None and region.value.source[0] == "tensor"
        op = "a view made outside forward" if of_tensor else "a view that no op made"
        self._append(op, (region.value,), {}, value)
        return value

    def ran(self, op, args: tuple, kwargs: dict[str, Any], result: Any, saved: dict[int, Tensor]) -> None:
        """Called by the world after each op."""
        inputs = tree_map(lambda x: self.value_of(x) if isinstance(x, Tensor) else x, (args, kwargs))
        written = _written(op, args, kwargs)
        if written:
            self._write(op, inputs, written, result)
            return
        constant = is_noise(op) or all(v.constant is not None for v in values_in(inputs))
        viewed = args and isinstance(args[0], Tensor) and _is_view(op)
        if viewed and isinstance(result, Tensor) and result is args[0]:
            return
        outputs = tree_map(lambda x: self._new(x, constant) if isinstance(x, Tensor) else None, result)
        if viewed:
            self._view(op, args, inputs, result, outputs)
        else:
            for tensor, value in zip(_flat(result), _flat(outputs), strict=True):
                if isinstance(tensor, Tensor):
                    self.register(tensor, value)
        if not constant:
            self._append(op, inputs[0], inputs[1], outputs)

    def will_write(self, op, args, kwargs) -> dict[int, Tensor]:
        """Copy every constant in the memory that an op is about to write, so that earlier uses keep their value."""
        for t in _written(op, args, kwargs):
            self.value_of(t)
            for value in self._borrowed.pop(_memory(t), []):
                assert value.constant is not None
                value.constant = value.constant.clone()
        return {}

    def _new(self, tensor: Tensor, constant: bool) -> Value:
        value = Value(tuple(tensor.shape), tensor.dtype)
        if constant:
            self._borrow(value, tensor)
        return value

    def _borrow(self, value: Value, tensor: Tensor) -> None:
        value.constant = tensor.detach()
        self._borrowed.setdefault(_memory(tensor), []).append(value)

    def _append(self, op, args: Any, kwargs: Any, outputs: Any) -> None:
        parametric = any(v.parametric for v in values_in((args, kwargs)))
        for value in values_in(outputs):
            value.parametric = parametric
        if (op in _SHAPED_BY_DATA and parametric) or (
            op is torch.ops.aten.index.Tensor and _by_mask(args[1])
        ):
            self.tape.branches.append(self._path[-1])
        self.tape.calls.append(
            Call(op, args, kwargs, outputs, ".".join(self._path[-1:]), len(self.tape.calls))
        )

    def _view(self, op, args, inputs, result, outputs) -> None:
        parent = self._places[id(args[0])][1]
        many = isinstance(result, list | tuple)
        for i, (tensor, value) in enumerate(zip(_flat(result), _flat(outputs), strict=True)):
            step = (op, inputs[0][1:], inputs[1], i if many else None, tuple(tensor.shape))
            place = _Place(parent.region, (*parent.chain, step), value, parent.region.version)
            self._places[id(tensor)] = (tensor, place)

    def _write(self, op, inputs, written: list[Tensor], result) -> None:
        new = [Value(tuple(t.shape), t.dtype) for t in written]
        if is_noise(op) or all(v.constant is not None for v in values_in(inputs)):
            for value, t in zip(new, written, strict=True):
                self._borrow(value, t)
        returned = [r for r in _flat(result) if isinstance(r, Tensor)]
        fresh = [r for r in returned if not any(r is t for t in written)]
        outs = [Value(tuple(r.shape), r.dtype) for r in fresh]
        for tensor, value in zip(fresh, outs, strict=True):
            self.register(tensor, value)
        if not is_noise(op):
            self._append(op, inputs[0], inputs[1], [*outs, *new] if outs else new)
        for tensor, value in zip(written, new, strict=True):
            place = self._places[id(tensor)][1]
            region = place.region
            if place.chain:
                base = Value(region.value.shape, region.value.dtype)
                self._append(OVERWRITE, (region.value, value, place.chain), {}, base)
                region.value = base
            else:
                region.value = value
            region.version += 1
            place.value, place.version = value, region.version


class Exits(TorchFunctionMode):
    """Sees numbers leave for NumPy and lists.

    The way back is not on the tape, so they count as read, as the number that decides a branch does.
    """

    def __init__(self, recorder: Recorder):
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in _leaving(func, args, kwargs):
            self._recorder.read(tensor)
        return func(*args, **kwargs)


_EXITS = {
    Tensor.numpy,
    Tensor.tolist,
    Tensor.__array__,
    Tensor.__dlpack__,
    Tensor.__deepcopy__,
}
_ENTRIES = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


def _leaving(func, args, kwargs) -> list[Tensor]:
    """The tensors whose numbers a function takes without an op; a tensor made of one tensor is a copy, which is one."""
    if func in _EXITS:
        return [args[0]]
    if func not in _ENTRIES:
        return []
    given = [*args[func is Tensor.new_tensor :], kwargs.get("data"), kwargs.get("obj")]
    data = next((x for x in given if x is not None), None)
    return [] if isinstance(data, Tensor) else [x for x in _flat(data) if isinstance(x, Tensor)]


def record(
    model: nn.Module, args: tuple, kwargs: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[Tape, Any]:
    """Run a float64 copy of a model once and write down what it computes.

    Args:
        model: The copy; it is run as it is.
        args: Positional inputs, floating tensors in float64.
        kwargs: Keyword inputs.
        tensors: Parameters and buffers of the copy by name.

    Returns:
        The tape and the model's output.
    """
    tape, path = Tape(), [""]
    hooks = [h for name, m in model.named_modules() for h in _follow(m, name, path)]
    recorder = Recorder(tape, path)
    for name, tensor in tensors.items():
        value = Value(tuple(tensor.shape), tensor.dtype, ("tensor", name), parametric=True)
        tape.tensors[name] = value
        recorder.register(tensor, value)
    for tensor in _flat((args, kwargs)):
        if isinstance(tensor, Tensor):
            recorder.register(tensor, Value(tuple(tensor.shape), tensor.dtype, ("input", "")))
    try:
        with recorder, Exits(recorder):
            output = model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    tape.outputs += [recorder.value_of(t) for t in tensors_in(output)]
    return tape, output


def _follow(module: nn.Module, name: str, path: list[str]):
    # A module that raises leaves its name on the path; the recording is over then.
    yield module.register_forward_pre_hook(lambda m, a: path.append(name))
    yield module.register_forward_hook(lambda m, a, o: (path.pop(), None)[1])


def _flat(tree: Any) -> list:
    if isinstance(tree, list | tuple):
        return [leaf for item in tree for leaf in _flat(item)]
    if isinstance(tree, dict):
        return [leaf for item in tree.values() for leaf in _flat(item)]
    return [tree]


def _by_mask(indices) -> bool:
    """Does a mask that depends on parameters choose how many rows there are?"""
    return any(v.parametric and v.dtype == torch.bool for v in values_in(indices))


def _memory(tensor: Tensor) -> int:
    """Where the tensor's storage begins; 0 if it has none."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided and tensor.numel() else 0


def _is_view(op) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)


def _written(op, args, kwargs) -> list[Tensor]:
    if not op._schema.is_mutable:
        return []
    found = []
    for i, a in enumerate(op._schema.arguments):
        if a.alias_info is not None and a.alias_info.is_write:
            given = args[i] if i < len(args) else kwargs.get(a.name)
            found += [t for t in _flat(given) if isinstance(t, Tensor)]
    return found
