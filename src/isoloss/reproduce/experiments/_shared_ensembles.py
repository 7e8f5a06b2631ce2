"""What Figures 2.8 and 2.9 share: a trained network, and the ensembles made of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isoloss.ensemble import RECIPES, Ensemble, OnBatch, WithinActivation, orbit_ensemble
from isoloss.finding import find
from isoloss.problems import Data
from isoloss.reproduce._data import batches, images
from isoloss.reproduce._experiment import Settings
from isoloss.reproduce._network import FINDING, SLOPE
from isoloss.symmetry import Symmetries

GROUP = "group"
BASELINES = ("inverse", "random", "shuffle", "perm_interp")
WITHIN = "within activation"
CONTENDERS = (GROUP, *BASELINES, WITHIN)
"""The group by Eq. (2.54), with weights moved on training images; the four baselines; the group by Eq. (2.55)."""

FEATURES = 5_000
"""Training images that are kept as the head sees them."""


@dataclass(frozen=True)
class Ensembles(Settings):
    """Dissertation Section 2.9 gives the layers and the width; the other numbers are ours."""

    samples: int = 50_000
    held_out: int = 10_000
    channels: int = 16
    width: int = 32
    epochs: int = 20
    batch: int = 64
    rate: float = 0.01
    momentum: float = 0.9
    members: int = 100
    action_batch: int = 1000
    """Training images that the action depends on."""


class Network(nn.Module):
    """A convolution of kernel size 3, a maximum over 2 x 2, and two linear layers with LeakyReLU in between.

    Attributes:
        trunk: What all members of an ensemble share.
        head: The two linear layers, which the group moves.
    """

    def __init__(self, shape: tuple[int, int, int], channels: int, width: int, classes: int):
        super().__init__()
        inputs, *sides = shape
        pooled = channels * ((sides[0] - 2) // 2) * ((sides[1] - 2) // 2)
        # The dtype is named: `find`, in another thread, changes the default one for a while.
        self.trunk = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, dtype=torch.float32), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Sequential(
            nn.Linear(pooled, width, dtype=torch.float32),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, classes, dtype=torch.float32),
        )

    def forward(self, x: Tensor) -> Tensor:
        """A number per class, (sample, class)."""
        return self.head(self.trunk(x))


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: In eval mode.
        data: Images of shape (sample, channel, height, width).
        valid: Smallest and largest value of a pixel.
        features: What the head sees of the training images.
        symmetries: Of the head.
    """

    model: Network
    data: Data
    valid: tuple[float, float]
    features: Tensor
    symmetries: Symmetries

    @property
    def contrast(self) -> float:
        """What a change of a pixel from black to white is in the units of the data."""
        return self.valid[1] - self.valid[0]


def trained(settings: Ensembles, seed: int) -> Trained:
    """The network of a seed, trained once per process."""
    s = settings
    sizes = (s.samples, s.held_out, s.channels, s.width, s.epochs, s.batch)
    return _trained(s.data, sizes, s.rate, s.momentum, seed)


@lru_cache(maxsize=8)
def _trained(folder: str, sizes: tuple[int, ...], rate: float, momentum: float, seed: int) -> Trained:
    samples, held_out, channels, width, epochs, batch = sizes
    data = _pictures(images("cifar10", folder, samples, held_out))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network(data.shape, channels, width, data.classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    for _ in range(epochs):
        for x, y in batches(data, min(batch, len(data.y)), generator):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        features = torch.cat([model.trunk(x) for x in data.x[:FEATURES].split(500)])
    with FINDING:
        symmetries = find(model.head, features[:4])
    return Trained(model, data, (float(data.x.min()), float(data.x.max())), features, symmetries)


def _pictures(flat: Data) -> Data:
    """The images with their axes, which `images` has flattened."""
    side = round((flat.x.shape[1] / 3) ** 0.5)
    x, held_out = (t.unflatten(1, (3, side, side)) for t in (flat.x, flat.x_validation))
    return Data(flat.name, x, flat.y, held_out, flat.y_validation, flat.classes)


def ensemble(settings: Ensembles, of: Trained, contender: str, epsilon: float, seed: int) -> Ensemble:
    """The heads of a contender.

    Their mean is that of probabilities: in that of logits a single member with an almost singular g outshouts the
    others, and an attack through it would leave the vote alone.
    """
    if contender == WITHIN:
        source = WithinActivation("1", settings.width)
    else:
        source = OnBatch(of.features[: settings.action_batch], RECIPES[contender](), of.symmetries)
    generator = torch.Generator().manual_seed(seed)
    with FINDING:
        return orbit_ensemble(
            of.model.head, source, settings.members, epsilon, generator=generator, mean="probabilities"
        )


def parts(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches in order; all but the last have the size."""
    yield from zip(x.split(size), y.split(size), strict=True)
