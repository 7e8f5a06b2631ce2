"""The papers' image data: from a folder, else downloaded."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from isoloss.problems import DATA_FOLDER, Data, load, where


def check_folder(folder: str | Path) -> None:
    """Refuse a folder that was named and is not there.

    Raises:
        OSError: If it is none; the default need not be there.
    """
    if str(folder) != DATA_FOLDER and not Path(folder).is_dir():
        reason = "which is a file" if Path(folder).exists() else f"which is not there, seen from {Path.cwd()}"
        raise OSError(
            f"reproduce: data must be a folder with mnist.npz and the like; got {folder}, {reason}; "
            "leave it out to have the data downloaded."
        )


@lru_cache(maxsize=4)
def images(name: str, folder: str, samples: int, held_out: int) -> Data:
    """Flattened images, normalized, read once per process.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        folder: Where the files may be; see `where`.
        samples: Most training samples to keep.
        held_out: Most held-out samples to keep, of the data's test set.

    Raises:
        ValueError: If the file has another layout.
        OSError: If the data must be downloaded and cannot be.
        ImportError: If scikit-learn is needed for that and absent.
    """
    try:
        data = load(where(name, folder), max(samples, held_out))
    except ImportError as error:
        raise ImportError(
            f"reproduce: {name} is downloaded through scikit-learn, which is absent: pip install "
            f"'isoloss[reproduce]'. No {name}.npz lies in {folder}, seen from {Path.cwd()}."
        ) from error
    except OSError as error:
        raise type(error)(f"{error} No {name}.npz lies in {folder}, seen from {Path.cwd()}.") from error
    flat = [t.flatten(1) for t in (data.x[:samples], data.x_validation[:held_out])]
    y, y_validation = data.y[:samples], data.y_validation[:held_out]
    return Data(name, flat[0], y, flat[1], y_validation, data.classes)


def missing(names: Iterable[str], folder: str) -> dict[str, str]:
    """The data sets that are neither in the folder nor can be downloaded, with the reason."""
    found = {}
    for name in names:
        try:
            if where(name, folder) == name:
                images(name, folder, 1, 1)
        except (OSError, ImportError) as error:
            found[name] = " ".join(str(error).split())
    return found


def batches(data: Data, size: int, generator: torch.Generator) -> tuple[tuple[Tensor, Tensor], ...]:
    """One epoch in random order; an incomplete last batch is left out."""
    order = torch.randperm(len(data.y), generator=generator)
    rows = order[: len(order) // size * size].view(-1, size)
    return tuple((data.x[row], data.y[row]) for row in rows)


def fingerprint(names: tuple[str, ...], folder: str) -> dict[str, str]:
    """What the data is: a hash of each file, or the name of what is downloaded."""
    return {name: _hash(where(name, folder)) for name in names}


@lru_cache(maxsize=8)
def _hash(path: str) -> str:
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else path
