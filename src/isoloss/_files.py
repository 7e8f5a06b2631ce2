"""Writing a file so that a reader sees the old one or the new one, never half of it."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_file(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write the whole file, or on failure or interruption leave what was there.

    The content goes to a temporary file in the same folder, which then takes the name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(part, 0o666 & ~_umask())  # mkstemp gives a file that only its owner can read
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path


def write_weights(folder: Path, name: str, content: bytes, config: str, text: str) -> None:
    """Write weights, then the configuration that names them, then remove older weights.

    Whatever interrupts it, the configuration that is there names weights that are there.

    Args:
        folder: That exists.
        name: Of the weights, weights-*.safetensors.
        content: Theirs.
        config: Name of the configuration.
        text: Its own.
    """
    write_file(folder / name, content)
    write_file(folder / config, text)
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike[str], where: str) -> Path:
    """Make a folder, with those above it, where files can be written.

    Args:
        path: The folder; it may be there.
        where: Who asks, for the message.

    Raises:
        OSError: If it is a file, or cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise OSError(
            f"{where}: out must be a folder that can be written; got {path} ({reason}); name another one."
        ) from error
    return path


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Write a value as indented JSON; inf and nan are refused, for JSON has no words for them."""
    return write_file(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
