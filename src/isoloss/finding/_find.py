"""find: from a module and example inputs to its symmetries."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map

from isoloss.finding._rotary import with_phases
from isoloss.finding._run import interpret
from isoloss.finding._solve import Solution
from isoloss.finding._tape import record
from isoloss.finding._translations import translations
from isoloss.finding._verify import BROKEN, SCALES, Verifier, key_of
from isoloss.finding._world import copy_in_float64, settings, without_trace
from isoloss.symmetry import Symmetries, Symmetry, named_tensors

log = logging.getLogger(__name__)
Inputs = Tensor | tuple | list | dict[str, Any]


def find(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    verify: Literal["sample", "full"] | bool = "sample",
    statistics: Literal["move", "hold"] = "move",
    frozen: Literal["move", "hold"] = "move",
    branches: Literal["refuse", "follow"] = "refuse",
    seed: int = 0,
) -> Symmetries:
    """Find the symmetries of a module: the transformations of its weights that leave its outputs unchanged.

    The module runs once, in float64, on a copy; every op is recorded, and a rule per op says on which index sets
    groups may act. What no rule describes is held fixed and named in the notes. Every symmetry of the documented
    catalogue that is found is then tried on the copy; those that change the outputs by more than 1e-10 are left out.
    The model itself is never touched.

    Args:
        model: Any module; its mode (train or eval) is respected, except that dropout acts by its mean.
        example_inputs: A tensor, a tuple of positional arguments or a dict of keyword arguments.
        verify: "sample" tries a random element of every symmetry; "full" also leaves out each slot in turn, and
            drops a symmetry if that never breaks the function; False trusts the rules.
        statistics: Whether running statistics of batch norms move with their channels or are held.
        frozen: Whether parameters that do not require gradients may move.
        branches: What to do if the module reads a number that depends on its parameters, as a data-dependent branch
            does: refuse, or follow the branch that the example inputs take.
        seed: Seed of the verification.

    Returns:
        The symmetries, bound to the model.

    Raises:
        TypeError: If model is not a module, or example_inputs is none of the types above.
        ValueError: If the module has no parameters, or has complex, quantized or meta ones, or cannot run on the
            inputs, or branches on data.

    References:
        Dissertation, Chapter 1 (Table 1.1). The search itself is described in docs/finding.md.
    """
    args, kwargs = _arguments(example_inputs)
    _check(model)
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if given and not any(t.numel() for t in given):
        raise ValueError(
            f"find: the example inputs must not all be empty; got shape {tuple(given[0].shape)}; pass one example."
        )
    if verify not in ("sample", "full", True, False):
        raise ValueError(f"find: verify must be 'sample', 'full' or False; got {verify!r}.")
    for option, value, allowed in (
        ("statistics", statistics, ("move", "hold")),
        ("frozen", frozen, ("move", "hold")),
        ("branches", branches, ("refuse", "follow")),
    ):
        if value not in allowed:
            raise ValueError(f"find: {option} must be {allowed[0]!r} or {allowed[1]!r}; got {value!r}.")
    with without_trace(model):  # hooks and closures of the copy reach the model itself
        found, notes = _search(model, args, kwargs, verify, statistics, frozen, branches, seed)
    for note in notes:
        log.info("left out: %s", note)
    return Symmetries(found, model, notes)


def _search(
    model: nn.Module,
    args: tuple,
    kwargs: dict[str, Any],
    verify: str | bool,
    statistics: str,
    frozen: str,
    branches: str,
    seed: int,
) -> tuple[list[Symmetry], list[str]]:
    with settings():
        twin = _copied(model)
        args, kwargs = tree_map(_double, (args, kwargs))
        tensors = _movable(twin, model, statistics, frozen)
        with without_trace(twin):
            tape = _recorded(twin, args, kwargs, tensors)
    if tape.branches and branches == "refuse":
        raise ValueError(
            "find: the ops that run must not depend on the values of parameters; got a module that reads such a "
            f"value, {tape.branches[0] or 'the model itself'}; pass branches='follow' to find the symmetries of the "
            "branch that the example inputs take."
        )
    run, notes = interpret(tape, tensors.keys())
    tape_branches = bool(tape.branches)
    del tape
    solution = Solution(run)
    # A branch that was followed holds where the model is, not elsewhere.
    home = named_tensors(model)
    verifier = Verifier(twin, args, kwargs, tensors, home, seed, wander=not tape_branches)
    _check_outputs(verifier)
    found = solution.symmetries()
    guesses = [phase for _, phase in with_phases(found)]
    if not tape_branches:
        shifts, flat, note = translations(solution, verifier)
        # What the outputs depend on by jumps only, as on the weights of a router, has no gradient either.
        unseen = {x.name for x in flat if not verifier.sees(x.name, x.block)}
        unseen |= {x.name for x in solution.leaves if x.index in solution.held}
        guesses += shifts
        notes += note + _unseen(unseen)
        found, guesses = _apart_from(unseen, found), _apart_from(unseen | {x.name for x in flat}, guesses)
    likely = verifier.elsewhere(guesses)
    known = {key_of(s) for s in likely}
    halves = {id(half) for half, phase in with_phases(found) if key_of(phase) in known}
    found = [s for s in found if id(s) not in halves]
    if verify:
        found, failed = verifier.verified(found)
        notes += [f"{note}; it is not a symmetry here" for note in failed]
        if not tape_branches:
            kept = verifier.elsewhere(found, SCALES[:1])
            holding = {key_of(s) for s in kept}
            notes += [
                f"{s.family} {s.name} on {', '.join(s.parameters[:3])}: it holds for the example inputs only"
                for s in found
                if key_of(s) not in holding
            ]
            found = kept
    found += likely
    if verify:
        if verify == "full":
            found, vacuous = _controlled(verifier, found)
            notes += vacuous
    return found, notes


def _unseen(names: set[str]) -> list[str]:
    """One note a module."""
    by_module: dict[str, list[str]] = {}
    for name in sorted(names):
        by_module.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        f"{path or 'the model itself'}: with these example inputs the outputs do not depend on {', '.join(some)}, "
        "so that what moves this module is left out; longer or larger examples may show more"
        for path, some in by_module.items()
    ]


def _apart_from(unseen: set[str], symmetries: list[Symmetry]) -> list[Symmetry]:
    """Those that move nothing of the modules that have weights which the example inputs do not reach.

    A recurrent net on one step, or attention to one token: what holds for them does not hold in general.
    """
    modules = {name.rpartition(".")[0] for name in unseen}
    return [s for s in symmetries if not any(n.rpartition(".")[0] in modules for n in s.parameters)]


def _controlled(verifier: Verifier, found: list[Symmetry]) -> tuple[list[Symmetry], list[str]]:
    """Those whose check could have failed: some slot matters, or the whole is a shift that nothing sees."""
    kept, notes = [], []
    for s in found:
        strongest = max(verifier.controls(s))
        # Where all slots but one are idle, none can be left behind; then a random move must show that one matters.
        if strongest > BROKEN or verifier.shaken(s) > BROKEN or s.family == "translation":
            kept.append(s)
        else:
            notes.append(
                f"{s.family} {s.name} on {', '.join(s.parameters[:3])}: every slot can be left behind without changing "
                f"the outputs (by {strongest:.0e}), so that its check showed nothing"
            )
    return kept, notes


def _arguments(example_inputs: Inputs) -> tuple[tuple, dict[str, Any]]:
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    if isinstance(example_inputs, dict) or hasattr(example_inputs, "keys"):
        return (), dict(example_inputs)
    raise TypeError(
        "find: example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; "
        f"got {type(example_inputs).__name__}; wrap a single object in a tuple."
    )


def _check(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"find: model must be a torch.nn.Module; got {type(model).__name__}.")
    named = dict(model.named_parameters())
    if not named:
        raise ValueError("find: the model must have parameters; got none; there is nothing to move.")
    places: list[tuple[int, int, str]] = []
    for name, p in named.items():
        if isinstance(p, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"find: parameters must have shapes; got the uninitialized {name}; "
                "run the model once on its inputs first."
            )
        if p.is_meta:
            raise ValueError(
                f"find: parameters must have values; got the meta tensor {name}; "
                "materialize the model first, with model.to_empty(device=...) and its weights."
            )
        if p.is_complex():
            raise ValueError(
                f"find: parameters must be real; got complex {name} ({p.dtype}); "
                "store real and imaginary parts as an axis of size two."
            )
        if p.layout != torch.strided:
            raise ValueError(
                f"find: parameters must be dense; got the sparse {name}; call its to_dense() first."
            )
        if not p.is_floating_point():
            raise ValueError(
                f"find: parameters must be floating point; got {name} ({p.dtype}); dequantize the model first."
            )
        places.append((*_memory(p), name))
    for (_, end, first), (start, _, second) in zip(sorted(places), sorted(places)[1:], strict=False):
        if start < end:
            raise ValueError(
                f"find: tied weights must be one Parameter; got {first} and {second}, two that share memory; "
                "assign the same Parameter to both modules."
            )
    _check_views(model, places)


def _check_views(model: nn.Module, places: list[tuple[int, int, str]]) -> None:
    for path, module in model.named_modules():
        for key, value in (*vars(module).items(), *module.named_buffers(recurse=False)):
            for t in tree_leaves(value):
                if not isinstance(t, Tensor) or isinstance(t, nn.Parameter) or t.layout != torch.strided:
                    continue
                start, end = _memory(t)
                owner = next((n for a, b, n in places if start < b and a < end), None)
                # Of legacy spectral_norm, until the first pass.
                if owner is not None and owner.rpartition(".")[2] != f"{key}_orig":
                    raise ValueError(
                        f"find: no other tensor may share memory with a parameter; got {path or 'the model'}.{key}, "
                        f"which is a view of {owner}; compute it in forward."
                    )


def _memory(t: Tensor) -> tuple[int, int]:
    """First and last address that a tensor reads."""
    if not t.numel() or t.is_meta:
        return 0, 0
    last = sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))
    return t.data_ptr(), t.data_ptr() + (last + 1) * t.element_size()


def _check_outputs(verifier: Verifier) -> None:
    for t in verifier.reference(False):
        if t.numel() and (bool(t.isnan().any()) or not bool(t.isfinite().any())):
            raise ValueError(
                "find: the outputs must be finite, or nothing can be verified; got nan or inf from the example inputs; "
                "check the parameters and the inputs."
            )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy_in_float64(model)
    except Exception as error:
        raise ValueError(
            f"find: the model must be copied, so that it is never touched; got {type(error).__name__}: {error}; "
            "remove what copy.deepcopy refuses."
        ) from error


def _double(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.detach().to(torch.float64).clone() if x.is_floating_point() else x.detach().clone()


def _movable(twin: nn.Module, model: nn.Module, statistics: str, frozen: str) -> dict[str, Tensor]:
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    tensors: dict[str, Tensor] = {
        n: p for n, p in twin.named_parameters() if frozen == "move" or n in trained
    }
    if statistics == "move":
        for path, module in twin.named_modules():
            if isinstance(module, _NormBase):
                for name, buffer in module.named_buffers(recurse=False):
                    if buffer.is_floating_point():
                        tensors[f"{path}.{name}" if path else name] = buffer
    return tensors


def _recorded(twin: nn.Module, args: tuple, kwargs: dict[str, Any], tensors: dict[str, Tensor]):
    try:
        tape, output = record(twin, args, kwargs, tensors)
    except Exception as error:
        raise ValueError(
            "find: the model must run on the example inputs, in float64; "
            f"got {type(error).__name__}: {error}; check that model(*example_inputs) works."
        ) from error
    if not tape.outputs:
        raise ValueError(
            "find: the model must return tensors, in lists, dicts or dataclasses; "
            f"got {type(output).__name__}; wrap it in a module that returns what should stay unchanged."
        )
    return tape
