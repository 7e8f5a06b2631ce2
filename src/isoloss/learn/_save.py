"""Meta-optimizers on disk: safetensors, and a configuration in JSON that says how to make them."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isoloss._checks import is_whole
from isoloss._files import make_folder, write_weights
from isoloss.learn._design import Design
from isoloss.learn._flat import Layout
from isoloss.learn._meta_optimizer import MetaOptimizer

FORMAT = 1
CONFIG = "config.json"


def save(meta: MetaOptimizer, folder: str | os.PathLike[str], info: Mapping[str, Any] | None = None) -> Path:
    """Write a meta-optimizer into a folder: config.json, and safetensors named by what is in them.

    Whatever interrupts it, the folder holds what it held before, or the new one.

    Args:
        meta: What is saved; bit for bit, in its dtype.
        folder: Made if it is not there. A meta-optimizer in it is replaced.
        info: What is to be known of it, such as what it was trained on, in words of JSON; that of `meta` if None.

    Returns:
        The folder.

    Raises:
        ValueError: If info cannot be written as JSON.
        OSError: If the folder cannot be written.
    """
    from safetensors.torch import save as encode

    import isoloss

    tensors = {n: t.detach().cpu().contiguous().clone() for n, t in meta.state_dict().items()}
    content = encode(tensors)
    digest = hashlib.sha256(content).hexdigest()
    weights = f"weights-{digest[:16]}.safetensors"
    told = describe(meta) | {
        "isoloss": isoloss.__version__,
        "info": dict(meta.info if info is None else info),
        "weights": weights,
        "sha256": digest,
    }
    try:
        text = json.dumps(told, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"save: info must be of words, finite numbers, lists and dicts; got {error}; turn the rest into words."
        ) from error
    folder = make_folder(folder, "save")
    write_weights(folder, weights, content, CONFIG, text)
    return folder


def load(folder: str | os.PathLike[str]) -> MetaOptimizer:
    """Read a meta-optimizer that `save` wrote, on the CPU.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a file is damaged, of a newer format, or tensors are not those of its design.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"load: the folder must hold a meta-optimizer; got {folder} without {CONFIG}; "
            "name one that save wrote."
        )
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(told, dict):
        raise _damaged(path, "no object")
    meta = described(told, str(path))
    file = folder / str(told.get("weights"))
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _damaged(file, error.strerror or "not readable") from error
    if hashlib.sha256(content).hexdigest() != told.get("sha256"):
        raise _damaged(file, "not the bytes that were saved")
    fill(meta, decoded(content, file), str(file))
    info = told.get("info")
    meta.info = info if isinstance(info, dict) else {}
    return meta


def describe(meta: MetaOptimizer) -> dict[str, Any]:
    """All that it takes to make it but for its parameters, in words of JSON."""
    whole = meta.layout is not None
    return {
        "format": FORMAT,
        "design": words(asdict(meta.design)),
        "layout": [[name, list(shape)] for name, shape in meta.layout.shapes] if meta.layout else None,
        "actions": [list(s) for s in meta.teleport.shapes]
        if whole and "tele" in meta.design.variant
        else None,
    }


def words(options: Mapping[str, Any]) -> dict[str, Any]:
    """Infinite bounds as text, for JSON has no word for them."""
    return {name: "inf" if value == inf else value for name, value in options.items()}


def described(told: Mapping[str, Any], where: str) -> MetaOptimizer:
    """A meta-optimizer as described, on the device "meta": it has no values yet.

    Args:
        told: Of `describe`, by way of JSON.
        where: The file, for messages.

    Raises:
        ValueError: If the description is of a newer format, or makes none.
    """
    written = told.get("format")
    if not is_whole(written, least=1):
        raise _damaged(where, "no format")
    if written > FORMAT:  # type: ignore[operator]
        raise ValueError(
            f"load: formats up to {FORMAT} are known; got {written} in {where}, "
            f"by isoloss {told.get('isoloss')}; install that version."
        )
    try:
        design = Design(**{f.name: _value(told["design"][f.name]) for f in fields(Design)})
        unknown = set(told["design"]) - {f.name for f in fields(Design)}
        if unknown:
            raise ValueError(f"unknown {', '.join(sorted(unknown))}")
        shapes = told["layout"]
        layout = None if shapes is None else Layout(tuple((n, tuple(shape)) for n, shape in shapes))
        with torch.device("meta"):
            return MetaOptimizer(design, layout, [tuple(shape) for shape in told["actions"] or ()])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error


def decoded(content: bytes, where: str | Path) -> dict[str, Tensor]:
    """The tensors of a file in safetensors.

    Raises:
        ValueError: If it is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as decode

    try:
        return decode(content)
    except SafetensorError as error:
        raise _damaged(where, str(error)) from error


def fill(meta: MetaOptimizer, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a meta-optimizer its values, with their dtype.

    Raises:
        ValueError: If names or shapes are not those of its parameters.
    """
    own = {name: tuple(t.shape) for name, t in meta.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    if own != got:
        name = next(n for n in (*own, *got) if own.get(n) != got.get(n))
        raise ValueError(
            f"load: tensors must be those of the design; got {got.get(name)} for {name} in {where}, "
            f"not {own.get(name)}; save it again."
        )
    meta.load_state_dict(dict(tensors), assign=True)


def _value(told: Any) -> Any:
    if isinstance(told, list):
        return tuple(told)
    return inf if told == "inf" else told


def _damaged(where: str | Path, reason: str) -> ValueError:
    return ValueError(
        f"load: the file must be as it was saved; got {where}, which is not ({reason}); save it again."
    )
