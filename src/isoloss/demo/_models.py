"""Networks that the demo can train; none of them knows about symmetries."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


def mlp(shape: Shape, classes: int, width: int) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(shape), width),
        nn.LeakyReLU(0.1),
        nn.Linear(width, width),
        nn.LeakyReLU(0.1),
        nn.Linear(width, classes),
    )


def cnn(shape: Shape, classes: int, width: int) -> nn.Module:
    """Three convolutions, with pooling in between."""
    channels = width // 4
    return nn.Sequential(
        nn.Conv2d(shape[0], channels, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, classes),
    )


class RowTransformer(nn.Module):
    """A transformer that reads an image row by row."""

    def __init__(self, shape: Shape, classes: int, width: int):
        super().__init__()
        channels, rows, columns = shape
        features = width // 4
        self.embed = nn.Linear(channels * columns, features)
        self.position = nn.Parameter(0.02 * torch.randn(rows, features))
        layer = nn.TransformerEncoderLayer(
            features, 4, 4 * features, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (sample, channel, row, column)."""
        rows = x.transpose(1, 2).flatten(2)
        return self.head(self.encoder(self.embed(rows) + self.position).mean(1))


MODELS: dict[str, Callable[[Shape, int, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": RowTransformer,
}
"""Builders by name, from the shape of an image, the number of classes and a width."""


def build(name: str, shape: Shape, classes: int, width: int, seed: int) -> nn.Module:
    """A network whose initialization depends on the seed alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](shape, classes, width)
