"""Running a tape: the recorded program, op by op, on other parameters and inputs than it was recorded with."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isoloss.finding._tape import OVERWRITE, Recorder, Value, _flat, _written, record
from isoloss.finding._world import Float64World, copy_in_float64, settings


class Recording:
    """A model in float64, its tape, and which value each input is."""

    def __init__(self, model: nn.Module, *args: Any, prepare: Any = None, **kwargs: Any) -> None:
        self.twin = copy_in_float64(model)
        if prepare is not None:
            prepare(self.twin)
        self.args, self.kwargs = tree_map(doubled, (args, kwargs))
        self.tensors = dict(self.twin.named_parameters()) | dict(self.twin.named_buffers())
        state = {n: b.clone() for n, b in self.twin.named_buffers()}
        self._inputs: list[Value] = []
        register = Recorder.register

        def watched(recorder: Recorder, tensor: Tensor, value: Value) -> None:
            if value.source == ("input", ""):
                self._inputs.append(value)
            register(recorder, tensor, value)

        Recorder.register = watched
        try:
            with settings():
                self.tape, self.output = record(self.twin, self.args, self.kwargs, self.tensors)
        finally:
            Recorder.register = register
        for n, b in self.twin.named_buffers():
            b.copy_(state[n])

    def perturb(self, seed: int = 1) -> None:
        """Other parameters and other floating inputs: the tape must not have kept the old ones."""
        generator = torch.Generator().manual_seed(seed)

        def noisy(x: Any) -> Any:
            if not isinstance(x, Tensor) or not x.is_floating_point() or not bool(x.isfinite().all()):
                return x
            return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

        for name, t in self.tensors.items():
            if t.is_floating_point():
                t.copy_(t * 1.1 if name.endswith("running_var") else noisy(t))
        self.args, self.kwargs = tree_map(noisy, (self.args, self.kwargs))

    def run(self) -> Any:
        """What the model computes now; its buffers are put back."""
        state = {n: b.clone() for n, b in self.twin.named_buffers()}
        with settings(), torch.no_grad(), Float64World():
            result = self.twin(*self.args, **self.kwargs)
        for n, b in self.twin.named_buffers():
            b.copy_(state[n])
        return result

    def replay(self) -> list[Tensor]:
        """What the tape computes now, for each of its outputs."""
        known: dict[int, Tensor] = {id(v): self.tensors[n] for n, v in self.tape.tensors.items()}
        given = [t for t in _flat((self.args, self.kwargs)) if isinstance(t, Tensor)]
        known |= {id(v): t for v, t in zip(self._inputs, given, strict=True)}
        for call in self.tape.needed():
            results = self._step(call, known)
            for value, result in zip(flat_values(call.outputs), results, strict=True):
                if value is not None:
                    assert tuple(result.shape) == value.shape, (str(call.op), result.shape, value.shape)
                    known[id(value)] = result
        return [look_up(known, v) for v in self.tape.outputs]

    def _step(self, call, known: dict[int, Tensor]) -> list[Tensor]:
        if call.op is OVERWRITE:
            base, new, chain = call.args
            whole = look_up(known, base).clone()
            part = whole
            for op, args, kwargs, pick, _ in chain:
                part = op(part, *tree_map(lambda x: look_up(known, x), args), **kwargs)
                part = part if pick is None else part[pick]
            part.copy_(look_up(known, new))
            return [whole]
        args, kwargs = tree_map(lambda x: look_up(known, x), (call.args, call.kwargs))
        if not call.op._schema.is_mutable:
            return _flat(call.op(*args, **kwargs))
        args, kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (args, kwargs))
        returned = _flat(call.op(*args, **kwargs))
        written = _written(call.op, args, kwargs)
        fresh = [r for r in returned if isinstance(r, Tensor) and not any(r is t for t in written)]
        return [*fresh, *written]


def look_up(known: dict[int, Tensor], x: Any) -> Any:
    if not isinstance(x, Value):
        return x
    return known[id(x)] if id(x) in known else x.constant


def flat_values(tree: Any) -> list[Value | None]:
    return [x if isinstance(x, Value) else None for x in _flat(tree)]


def doubled(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
