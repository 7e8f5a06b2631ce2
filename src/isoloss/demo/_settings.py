"""What a demo can be asked to do."""

from dataclasses import dataclass
from pathlib import Path

from isoloss.demo._models import MODELS


@dataclass(frozen=True)
class Settings:
    """Train one network with and without teleportation, every contender at its own best learning rate."""

    data: str = "digits"
    """digits (comes with scikit-learn), mnist (downloaded), or the path of an .npz with x_train, y_train,
    x_test, y_test."""
    model: str = "mlp"
    """mlp, cnn or transformer."""
    out: Path = Path("out/demo")
    """Folder for figure.png, results.json and the finished runs; an interrupted demo continues there."""
    width: int = 128
    """Neurons per hidden layer of the mlp; channels (cnn) and features (transformer) are a quarter of it."""
    epochs: int = 8
    """Passes over the training data."""
    batch: int = 32
    """Samples per step."""
    samples: int = 12_000
    """Most training samples used; the rest is left out."""
    seeds: int = 5
    """How often everything is repeated; a seed sets initialization, scaling and order of the batches."""
    sigma: float = 1.5
    """Standard deviation of the logarithm of the neuron factors in the badly scaled scene."""
    radius: float = 0.1
    """Largest distance of one gradient-norm teleport, in the algebra."""
    teleports: int = 4
    """Gradient-norm teleports per run, spread evenly over the first epoch."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    threads: int = 1
    """Threads of one matrix product; one is fastest for nets this small."""
    fresh: bool = False
    """Forget the finished runs in the folder."""

    def __post_init__(self) -> None:
        """Refuse values that no demo can run with.

        Raises:
            ValueError: If the model is unknown or a number is out of range.
        """
        if self.model not in MODELS:
            raise ValueError(f"demo: the model must be one of {', '.join(MODELS)}; got {self.model!r}.")
        for name in ("width", "epochs", "batch", "samples", "seeds", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"demo: {name} must be at least 1; got {getattr(self, name)}.")
        for name in ("sigma", "radius", "teleports"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"demo: {name} must not be negative; got {getattr(self, name)}.")
        if self.width < 16 or self.width % 16:
            raise ValueError(f"demo: width must be a multiple of 16, at least 16; got {self.width}.")
