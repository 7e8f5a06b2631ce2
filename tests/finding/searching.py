"""One search of the zoo, recorded, so that several tests can look at it."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from isoloss.finding import _run, find
from isoloss.finding._verify import Verifier
from isoloss.symmetry import Symmetries, Symmetry
from zoo import Entry


@dataclass(frozen=True)
class Control:
    """How much the outputs changed when one slot was left behind.

    Where they did not, also how much they change when its block, or all the others, are shaken: the smaller of both.
    """

    symmetry: Symmetry
    slot: int
    left_behind: float
    shaken: float | None = None


@dataclass(frozen=True)
class Search:
    """A zoo entry, its model, what was found, and what was seen on the way."""

    entry: Entry
    model: nn.Module
    inputs: Any
    found: Symmetries
    controls: list[Control]
    touched: list[str]


def search(entry: Entry) -> Search:
    """Find with full verification; skips an entry whose library is absent."""
    try:
        model, inputs = entry.build()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    for i, p in enumerate(model.parameters()):
        p.grad = torch.full_like(p, float(i)) if i % 2 else None
    with watched_controls() as controls, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "STRICT", True)  # a rule that fails is shown, not left out
        before = snapshot(model, inputs)
        found = find(model, inputs, verify="full")
        touched = differences(before, snapshot(model, inputs))
    return Search(entry, model, inputs, found, controls, touched)


@contextmanager
def watched_controls() -> Iterator[list[Control]]:
    """Writes down every slot-drop control that runs inside."""
    seen: list[Control] = []
    original = Verifier.controls

    def controls(self: Verifier, symmetry: Symmetry) -> list[float]:
        changes = original(self, symmetry)
        for i, change in enumerate(changes):
            seen.append(Control(symmetry, i, change, shaken(self, symmetry, i) if change <= 1e-7 else None))
        return changes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Verifier, "controls", controls)
        yield seen


def shaken(verifier: Verifier, symmetry: Symmetry, i: int) -> float:
    slots = symmetry.slots
    parts = [slots[i : i + 1], slots[:i] + slots[i + 1 :]] if len(slots) > 1 else [slots]
    return min(verifier.shaken(replace(symmetry, slots=part)) for part in parts)


# ---------------------------------------------------------------- the state of the world, bit for bit


def snapshot(model: nn.Module, inputs: Any = ()) -> dict[str, Any]:
    """Everything that a search could have changed, under readable names."""
    state: dict[str, Any] = {"torch random state": bits(torch.get_rng_state())}
    state["numpy random state"] = repr(np.random.get_state())
    state["python random state"] = random.getstate()
    for i, x in enumerate(tree_leaves(inputs)):
        state[f"input {i}"] = fingerprint(x) if isinstance(x, Tensor) else repr(x)
    for name, p in model.named_parameters():
        state[f"parameter {name}"] = fingerprint(p)
        state[f"grad of {name}"] = None if p.grad is None else fingerprint(p.grad)
    for name, b in model.named_buffers():
        state[f"buffer {name}"] = fingerprint(b)
    for name, module in model.named_modules():
        state[f"mode of {name}"] = module.training
        state[f"hooks of {name}"] = {k: list(v) for k, v in vars(module).items() if "hooks" in k and v}
        state[f"attributes of {name}"] = sorted(vars(module))
        state[f"tensors of {name}"] = [fingerprint(v) for v in vars(module).values() if isinstance(v, Tensor)]
    return state | settings_of_torch()


def settings_of_torch() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "attention kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.cudnn_sdp_enabled(),
        ),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


def fingerprint(t: Tensor) -> tuple:
    return (id(t), t.data_ptr(), t._version, t.dtype, tuple(t.shape), t.stride(), t.requires_grad, bits(t))


def bits(t: Tensor) -> bytes:
    return t.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if t.numel() else b""


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what changed, came or went."""
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


# ---------------------------------------------------------------- running


def outputs_of(model: nn.Module, inputs: Any) -> Tensor:
    """All floating-point outputs as one vector, with the same noise every time; running statistics are put back."""
    from nullspace import leaves

    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    args = args if isinstance(args, tuple) else (args,)
    state = {n: b.clone() for n, b in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = torch.cat([leaf.flatten() for leaf in leaves(model(*args, **kwargs))])
        for n, b in model.named_buffers():
            b.copy_(state[n])
    return result


def twin_in_float64(model: nn.Module) -> nn.Module:
    """A copy that dropout leaves alone."""
    twin = copy.deepcopy(model).double()
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return twin
