"""What was learned on disk: safetensors, and a configuration in JSON that says how to make it."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from isoloss._checks import is_whole
from isoloss._files import make_folder, write_weights
from isoloss.discovery._grade import Grade
from isoloss.discovery._recipe import Recipe
from isoloss.discovery._sampler import seeded
from isoloss.discovery._space import Space
from isoloss.discovery._training import Record
from isoloss.discovery.actions import ACTIONS, Action

if TYPE_CHECKING:
    from isoloss.discovery._discovery import Discovery

FORMAT = 1
CONFIG = "config.json"


def save(discovery: "Discovery", folder: str | os.PathLike[str]) -> Path:
    """See `Discovery.save`."""
    from safetensors.torch import save as encode

    import isoloss

    tensors = {f"action/{name}": t for name, t in discovery.action.state_dict().items()}
    tensors["generators"] = discovery.generators
    content = encode({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    weights = f"weights-{digest[:16]}.safetensors"
    action = discovery.action
    own = ACTIONS.get(_name(action)) is not type(action)
    told = {
        "format": FORMAT,
        "isoloss": isoloss.__version__,
        "action": type(action).__name__ if own else _name(action),
        "own": own,
        "options": {} if own else action.options,
        "params": _space_words(discovery.params),
        "data": _space_words(discovery.data),
        "grade": _words(asdict(discovery.grade)),
        "recipe": discovery.recipe.words,
        "history": _words([asdict(record) for record in discovery.history]),
        "weights": weights,
        "sha256": digest,
    }
    text = json.dumps(told, indent=2, allow_nan=False) + "\n"
    folder = make_folder(folder, "Discovery.save")
    write_weights(folder, weights, content, CONFIG, text)
    return folder


def load(folder: str | os.PathLike[str], action: Action | None) -> dict[str, Any]:
    """The fields of what was saved, but for the loss; see `Discovery.load`."""
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"Discovery.load: the folder must hold a discovery; got {folder} without {CONFIG}; name one that "
            "Discovery.save wrote."
        )
    try:
        told = json.loads(path.read_text())
        written, digest, file = told["format"], told["sha256"], folder / str(told["weights"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if is_whole(written) and written > FORMAT:
        raise ValueError(
            f"Discovery.load: formats up to {FORMAT} are known; got {written} in {path}, by isoloss "
            f"{told.get('isoloss')}; install that version."
        )
    tensors = _tensors(file, digest)
    try:
        params, data = _space(told["params"]), _space(told["data"])
        found = {
            "params": params,
            "data": data,
            "grade": _grade(told["grade"]),
            "recipe": Recipe.read(told["recipe"]),
            "history": tuple(Record(**_floats(record)) for record in told["history"]),
            "generators": tensors.pop("generators"),
        }
        kind, own, options = str(told["action"]), bool(told["own"]), dict(told["options"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    made = _own(action, kind, path) if own else _made(kind, params.size, data.size, options, path)
    state = {name.removeprefix("action/"): t for name, t in tensors.items()}
    try:
        made.double().load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"Discovery.load: tensors must be those of the action {kind}; got others in {file} ({error}); make the "
            "action as it was."
        ) from error
    if found["generators"].shape[1:] != (made.size, made.size):
        raise ValueError(
            f"Discovery.load: generators must be ({made.size}, {made.size}) for {kind}; got "
            f"{tuple(found['generators'].shape[1:])} in {file}; make the action as it was."
        )
    return found | {"action": made.requires_grad_(False)}


def _name(action: Action) -> str:
    return next((name for name, kind in ACTIONS.items() if kind is type(action)), "")


def _made(kind: str, params: int, data: int, options: Mapping[str, Any], path: Path) -> Action:
    if kind not in ACTIONS:
        raise ValueError(
            f"Discovery.load: actions known by name are {', '.join(ACTIONS)}; got {kind!r} in {path}; install the "
            "version that saved it."
        )
    try:
        with seeded(0):  # it is filled afterwards: random numbers of the user are not spent
            return ACTIONS[kind](params, data, **options)
    except (TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _own(action: Action | None, kind: str, path: Path) -> Action:
    if type(action).__name__ != kind or not isinstance(action, Action):
        raise ValueError(
            f"Discovery.load: {path} is of an action of the user's own; got {type(action).__name__} for {kind}; give "
            f"one, load(folder, action={kind}(...)), made as it was."
        )
    return deepcopy(action)


def _tensors(file: Path, digest: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as decode

    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("not the bytes that were saved")
        return decode(content)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(file, error) from error


def _space_words(space: Space) -> dict[str, Any]:
    try:
        structure = pytree.treespec_dumps(space.structure)
    except (NotImplementedError, ValueError, TypeError) as error:
        raise ValueError(
            f"Discovery.save: samples must be in dicts, lists and tuples; got {space.structure}; let the samplers "
            "return these."
        ) from error
    told = {f.name: getattr(space, f.name) for f in fields(Space)}
    whole = [None if dtype is None else str(dtype).removeprefix("torch.") for dtype in space.whole]
    return told | {"structure": structure, "whole": whole}


def _space(told: Mapping[str, Any]) -> Space:
    return Space(
        names=tuple(told["names"]),
        shapes=tuple(tuple(shape) for shape in told["shapes"]),
        structure=pytree.treespec_loads(told["structure"]),
        where=told["where"],
        whole=tuple(None if name is None else getattr(torch, name) for name in told["whole"]),
    )


def _grade(told: Mapping[str, Any]) -> Grade:
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in _floats(told).items()}
    return Grade(**values)


def _words(value: Any) -> Any:
    """With text for nan and infinity, for which JSON has no words."""
    if isinstance(value, Mapping):
        return {key: _words(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_words(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _floats(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_floats(v) for v in value]
    return float(value) if isinstance(value, str) else value


def _damaged(where: Path, error: Exception) -> ValueError:
    return ValueError(
        f"Discovery.load: the file must be as it was saved; got {where}, which is not "
        f"({type(error).__name__}: {error}); save it again."
    )
