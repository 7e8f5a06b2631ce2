"""A short text that tells one vector field, or one batch of data, from another."""

import hashlib
from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# What is told by its text; of other things that would be the address.
PLAIN = (str, bytes, int, float, complex, bool, type(None), range, torch.dtype, torch.device)


def fingerprint(*things: Any) -> str:
    """A hash of what things hold: the numbers in tensors, modules and objects, and what functions have captured.

    Names of classes and functions count, their code does not: a text saved by one version is known to the next. What a
    function finds among the globals of its module is not seen.
    """
    digest = hashlib.sha256()
    _add(digest, things, ())
    return digest.hexdigest()[:16]


def _add(digest: Any, thing: Any, inside: tuple[int, ...]) -> None:
    digest.update(f"{type(thing).__module__}.{type(thing).__qualname__}(".encode())
    if id(thing) not in inside:  # an object may hold itself
        for part in _parts(thing):
            if isinstance(part, bytes):
                digest.update(part)
            else:
                _add(digest, part, (*inside, id(thing)))
    digest.update(b")")


def _parts(thing: Any) -> list[Any]:
    """What a thing is made of: bytes, and other things."""
    if isinstance(thing, Tensor):
        flat = thing.detach().cpu().contiguous().reshape(-1)
        return [f"{thing.dtype}{tuple(thing.shape)}".encode(), flat.view(torch.uint8).numpy().tobytes()]
    if isinstance(thing, nn.Module):
        plain = [{n: v for n, v in vars(m).items() if not n.startswith("_")} for m in thing.modules()]
        return [repr(thing).encode(), *thing.state_dict().items(), *plain]
    if isinstance(thing, np.ndarray):
        return [f"{thing.dtype}{thing.shape}".encode(), thing.tobytes()]
    if isinstance(thing, Mapping):
        return [part for item in thing.items() for part in item]
    if isinstance(thing, list | tuple):
        return list(thing)
    if isinstance(thing, partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, MethodType):
        return [thing.__name__.encode(), thing.__self__]
    if isinstance(thing, FunctionType):
        name = f"{thing.__module__}.{thing.__qualname__}".encode()
        return [name, thing.__defaults__, *(cell.cell_contents for cell in thing.__closure__ or ())]
    if hasattr(thing, "__dict__") and not isinstance(thing, type):
        return [vars(thing)]
    if isinstance(thing, type) or callable(thing):
        return [getattr(thing, "__qualname__", "").encode()]
    return [repr(thing).encode()] if isinstance(thing, PLAIN) else []
