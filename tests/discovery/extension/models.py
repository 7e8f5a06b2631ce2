"""Small networks, large ones that contain them, and a data-dependent symmetry that is known in closed form."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.discovery._symmetry import DiscoveredSymmetry
from isoloss.discovery.extension import extend
from isoloss.finding import find
from isoloss.groups import Translation
from isoloss.symmetry import Symmetries


class Head(nn.Module):
    """One head of attention, on (samples, tokens, width)."""

    def __init__(self, width: int = 6, size: int = 3):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, size) for _ in range(3))
        self.o = nn.Linear(size, width)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).mT / self.q.out_features**0.5
        return self.o(scores.softmax(-1) @ self.v(x))


class TransformerBlock(nn.Module):
    """Two heads and an MLP beside a residual stream, behind norms."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList([Head(width), Head(width)])
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.heads[0](y) + self.heads[1](y)
        return x + self.mlp(x)


def cnn() -> nn.Sequential:
    """A block of two convolutions inside an image network, for (samples, 2, 6, 6)."""
    block = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 3, padding=1))
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), block, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    )


def extended(small: nn.Module, example: Any, **options: Any) -> Symmetries:
    """All that find sees in the small network, extended."""
    found = find(small, example)
    assert len(found)
    return Symmetries([extend(s, **options) for s in found], options["into"])


class Between(nn.Module):
    """Tanh layers around a linear one, f, which reads features of fewer samples than their dimension."""

    def __init__(self, times: int = 1):
        super().__init__()
        self.before, self.f, self.after = nn.Linear(4, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 2)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x).tanh()
        for _ in range(self.times):
            x = self.f(x).tanh()
        return self.after(x)


@dataclass(frozen=True)
class Unseen:
    """Velocity of a weight V along C (I - X^+ X): rows that the data X, (points, n), are orthogonal to."""

    directions: Tensor
    name: str = "weight"

    def __call__(self, c: Tensor, params: dict[str, Tensor], data: Tensor) -> dict[str, Tensor]:
        rest = torch.eye(data.shape[-1], dtype=data.dtype) - torch.linalg.pinv(data) @ data
        return {self.name: torch.einsum("k,kij->ij", c.to(data), self.directions.to(data)) @ rest}


def unseen(size: int = 6, points: int = 3, fields: int = 2) -> DiscoveredSymmetry:
    """Of a linear layer on fewer points than it has inputs: exact, and its fields commute."""
    data = torch.randn(points, size, dtype=torch.float64)
    directions = torch.randn(fields, size, size, dtype=torch.float64) / size
    return DiscoveredSymmetry(
        group=Translation(fields), field=Unseen(directions), names=("weight",), data=data, error=1e-12
    )
