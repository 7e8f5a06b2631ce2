"""Finished runs on disk, so that what is interrupted continues where it stopped."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

import isoloss
from isoloss._files import write_json


class Store:
    """A folder of finished runs, one JSON each, named by a hash of everything that the run depends on.

    Args:
        folder: Where they lie; made when the first run is written.
        context: What all runs share: data, model, settings. The version of torch is added.
        code: A hash of the source that computes the runs, so that a run of other code is never taken for a run of
            this one; `source()` if absent.
    """

    def __init__(self, folder: Path, context: dict[str, Any], code: str | None = None):
        self.folder = folder
        self.context = context | {"code": source() if code is None else code, "torch": torch.__version__}

    def get(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The run of this key: from the folder, else computed and written."""
        run = self.read(key)
        if run is None:
            run = compute()
            self.write(key, run)
        return run

    def read(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """The run of this key, or None if there is none that can be read."""
        return _read(self._path(key))

    def write(self, key: dict[str, Any], run: dict[str, Any]) -> None:
        """Keep a finished run; a reader sees all of it or nothing."""
        write_json(self._path(key), {"key": key, "run": run})

    def clear(self) -> None:
        """Forget every run."""
        for path in self.folder.glob("*.json"):
            path.unlink()

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))

    def _path(self, key: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps([self.context, key], sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:24]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def source(*without: str) -> str:
    """A hash of the package's source.

    Args:
        without: Files and folders that no run depends on, relative to the package. The command line is never counted.
    """
    root = Path(isoloss.__file__).parent
    skipped = {root / name for name in ("cli", *without)}
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if skipped.isdisjoint((path, *path.parents)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
