"""Finished runs on disk, so that an interrupted demo continues where it stopped."""

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
        context: What all runs share: data, model, settings. The source of the package and the version of
            torch are added, so that a run of other code is never taken for a run of this one.
    """

    def __init__(self, folder: Path, context: dict[str, Any]):
        self.folder = folder
        self.context = context | {"code": _code(), "torch": torch.__version__}

    def get(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The run of this key: from the folder, else computed and written."""
        path = self.folder / f"{self._hash(key)}.json"
        run = _read(path)
        if run is None:
            run = compute()
            write_json(path, {"key": key, "run": run})
        return run

    def clear(self) -> None:
        """Forget every run."""
        for path in self.folder.glob("*.json"):
            path.unlink()

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))

    def _hash(self, key: dict[str, Any]) -> str:
        return hashlib.sha256(json.dumps([self.context, key], sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _code() -> str:
    """A hash of the package's source, but for what only reads finished runs or prints them."""
    root = Path(isoloss.__file__).parent
    readers = {root / "demo" / name for name in ("_figure.py", "_verdict.py", "_report.py")}
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path not in readers and root / "cli" not in path.parents:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
