"""Random numbers of a model: the same ones in every pass, from a generator that nobody else draws from."""

import threading
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# Noise in the shape of a tensor, whatever its values are: the op that fills, and its arguments after the tensor.
LIKE: dict[Any, Any] = {
    aten.randn_like.default: aten.normal_.default,
    aten.rand_like.default: aten.uniform_.default,
    aten.randint_like.default: aten.random_.to,
    aten.randint_like.low_dtype: getattr(aten.random_, "from"),
}
# Ops that fill a tensor with noise, whatever was in it.
FILLS = frozenset(
    {
        aten.normal_,
        aten.uniform_,
        aten.exponential_,
        aten.random_,
        aten.cauchy_,
        aten.log_normal_,
        aten.geometric_,
    }
)


def is_noise(op: Any) -> bool:
    """Are the numbers that an op gives random, whatever the values of the tensors are that it is given?"""
    return op in LIKE or getattr(op, "overloadpacket", None) in FILLS


class Noise:
    """Runs ops; those that draw random numbers, with its own generators.

    Torch's own generator belongs to the process: it is neither drawn from nor seeded, so that threads do not disturb
    one another.

    Args:
        seed: Of a generator for each device.
    """

    _lock = threading.Lock()

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def run(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The op's result."""
        if torch.Tag.nondeterministic_seeded not in op.tags or kwargs.get("generator") is not None:
            return op(*args, **kwargs)
        if op in LIKE:
            options = {k: v for k, v in kwargs.items() if k != "generator"}
            empty = torch.empty_like(args[0], **options)
            return LIKE[op](empty, *args[1:], generator=self._at(empty.device))
        named = op if _takes_generator(op) else getattr(op.overloadpacket, "generator", None)
        device = _device(args, kwargs)
        if named is not None:
            return named(*args, **kwargs | {"generator": self._at(device)})
        return self._swapped(op, args, kwargs, device)

    def _at(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]

    def _swapped(self, op: Any, args: tuple, kwargs: dict[str, Any], device: torch.device) -> Any:
        """For the few ops that take no generator: torch's own, lent for the length of one op."""
        own = self._at(device)
        shared = (
            torch.default_generator
            if device.type == "cpu"
            else torch.cuda.default_generators[device.index or 0]
        )
        with Noise._lock:
            before = shared.get_state()
            try:
                shared.set_state(own.get_state())
                return op(*args, **kwargs)
            finally:
                own.set_state(shared.get_state())
                shared.set_state(before)


def _takes_generator(op: Any) -> bool:
    return any(a.name == "generator" for a in op._schema.arguments)


def _device(args: tuple, kwargs: dict[str, Any]) -> torch.device:
    given = [x.device for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    return given[0] if given else torch.device(kwargs.get("device") or torch.get_default_device())
