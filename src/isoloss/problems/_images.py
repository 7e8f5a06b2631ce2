"""Images and labels: by name, or from a file."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA_FOLDER = "../shared/data"
"""Where images are looked for by default, relative to the working directory; nothing is amiss where it is not there."""

KEYS = ("x_train", "y_train", "x_test", "y_test")

OPENML: dict[str, tuple[str, tuple[int, ...], int]] = {
    "mnist": ("mnist_784", (28, 28), 60_000),
    "fashion_mnist": ("Fashion-MNIST", (28, 28), 60_000),
    "cifar10": ("CIFAR_10", (3, 32, 32), 50_000),
}
"""What scikit-learn can download: its name at OpenML, the shape of an image there, the number of training images."""


@dataclass(frozen=True)
class Data:
    """A classification task, normalized by mean and standard deviation of the training images.

    Attributes:
        name: What was asked for.
        x: Training images, (sample, channel, height, width), float32.
        y: Training labels.
        x_validation: Held-out images.
        y_validation: Held-out labels.
        classes: Number of labels.
    """

    name: str
    x: Tensor
    y: Tensor
    x_validation: Tensor
    y_validation: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.x.shape[1:]
        return channels, height, width

    @property
    def fingerprint(self) -> str:
        """A hash of every number, so that a finished run is never taken for one on other data."""
        digest = hashlib.sha256()
        for tensor in (self.x, self.y, self.x_validation, self.y_validation):
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return digest.hexdigest()[:16]

    def to(self, device: str | torch.device) -> "Data":
        """The same data on a device."""
        x, y, x_validation, y_validation = (
            t.to(device) for t in (self.x, self.y, self.x_validation, self.y_validation)
        )
        return replace(self, x=x, y=y, x_validation=x_validation, y_validation=y_validation)


def where(name: str, folder: str | Path) -> str:
    """The file of a data set, NAME.npz or NAME_small.npz in the folder, or its name if it must be downloaded."""
    files = [Path(folder) / f"{name}{suffix}.npz" for suffix in ("", "_small")]
    return next((str(path) for path in files if path.is_file()), name)


def load(name: str, samples: int = 12_000) -> Data:
    """Load images by name or by path.

    Args:
        name: "digits" (part of scikit-learn, 8 x 8, a fifth held out), "mnist" (downloaded through
            scikit-learn; so are "fashion_mnist" and "cifar10"), or the path of an .npz in the layout of Keras:
            x_train, y_train, x_test, y_test,
            with images (sample, height, width) or (sample, height, width, channel).
        samples: Most training samples to keep, and most held-out ones.

    Returns:
        The data on the CPU.

    Raises:
        ValueError: If the name is neither, or the file has another layout.
        OSError: If mnist cannot be downloaded.
        ImportError: If scikit-learn is needed and absent.
    """
    if name == "digits":
        arrays = _digits()
    elif name in OPENML:
        arrays = _openml(name)
    elif name.endswith(".npz") or Path(name).exists():
        arrays = _npz(Path(name))
    else:
        raise ValueError(f"load: data must be digits, mnist or the path of an .npz file; got {name!r}.")
    return _normalized(name, *arrays, samples=samples)


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _datasets():
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "load: digits and mnist come through scikit-learn: pip install 'isoloss[demo]'."
        ) from error
    return datasets


def _digits() -> Arrays:
    x, y = _datasets().load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].reshape(-1, 8, 8), y[order]
    kept = len(y) - len(y) // 5
    return x[:kept], y[:kept], x[kept:], y[kept:]


def _openml(name: str) -> Arrays:
    datasets = _datasets()
    title, shape, kept = OPENML[name]
    try:
        x, y = datasets.fetch_openml(
            title, version=1, return_X_y=True, as_frame=False, n_retries=1, delay=0.1
        )
    except Exception as error:  # urllib, http and the parser of a captive portal's page each raise their own
        raise OSError(
            f"load: {name} is downloaded from OpenML, which failed "
            f"({type(error).__name__}: {_one_line(error)}); "
            f"go online, give the path of a Keras-style {name}.npz to --data, or use --data digits."
        ) from error
    x, y = np.asarray(x).reshape(-1, *shape), np.asarray(y).astype(np.int64)
    x = np.moveaxis(x, 1, -1) if len(shape) == 3 else x
    return x[:kept], y[:kept], x[kept:], y[kept:]


def _npz(path: Path) -> Arrays:
    if not path.is_file():
        raise ValueError(
            f"load: data must be digits, mnist or the path of an .npz file; got {path}, which is no file, seen from "
            f"{Path.cwd()}."
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in getattr(file, "files", [])]
            if missing:
                raise ValueError(f"needs the arrays {', '.join(KEYS)}, has {', '.join(file.files) or 'none'}")
            x, y, x_test, y_test = (file[key] for key in KEYS)
    except Exception as error:  # a truncated or mislabelled archive raises one of half a dozen types
        raise ValueError(
            f"load: {path} must be an .npz in the layout of Keras; got {_one_line(error)}."
        ) from error
    return x, y, x_test, y_test


def _normalized(name: str, x, y, x_test, y_test, *, samples: int) -> Data:
    for images, labels in ((x, y), (x_test, y_test)):
        if images.ndim not in (3, 4) or labels.size != len(images) or not len(images):
            raise ValueError(
                "load: images must be (sample, height, width) or (sample, height, width, channel), with one "
                f"label each; got images {images.shape}, labels {labels.shape}."
            )
        if labels.dtype.kind not in "iu":
            raise ValueError(f"load: labels must be integers; got {labels.dtype}.")
    x, x_test = (_channels_first(images[:samples]) for images in (x, x_test))
    y, y_test = (torch.as_tensor(labels.reshape(-1)[:samples].astype(np.int64)) for labels in (y, y_test))
    mean, spread = x.mean(), x.std().clamp_min(1e-6)
    classes = int(max(y.max(), y_test.max())) + 1
    return Data(name, (x - mean) / spread, y, (x_test - mean) / spread, y_test, classes)


def _channels_first(images: np.ndarray) -> Tensor:
    x = torch.as_tensor(images.astype(np.float32))
    return x.unsqueeze(1) if x.ndim == 3 else x.movedim(-1, 1).contiguous()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or "nothing"
