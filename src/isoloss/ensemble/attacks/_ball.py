"""Balls around inputs: the steepest direction, the projection, and a random point, for each norm."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class Ball(ABC):
    """The changes of a sample that are no larger than a radius; every sample has its own radius.

    Attributes:
        name: Of the norm.
    """

    name: ClassVar[str]

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The change of norm 1 along which a function of this gradient grows most, shape (sample, *features)."""

    @abstractmethod
    def project(self, change: Tensor, radius: Tensor) -> Tensor:
        """The nearest change, in the Euclidean norm, within the radius (sample, *1)."""

    @abstractmethod
    def sample(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """A change drawn uniformly from the ball of radius 1, shaped like a batch."""


class LinfBall(Ball):
    """The largest change of a feature."""

    name = "linf"

    def steepest(self, gradient: Tensor) -> Tensor:
        """Signs."""
        return gradient.sign()

    def project(self, change: Tensor, radius: Tensor) -> Tensor:
        """Every feature by itself."""
        return torch.minimum(torch.maximum(change, -radius), radius)

    def sample(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Every feature by itself."""
        return 2.0 * _drawn(torch.rand, like, generator) - 1.0


class L2Ball(Ball):
    """The Euclidean length of the change of a sample."""

    name = "l2"

    def steepest(self, gradient: Tensor) -> Tensor:
        """The gradient, normalized; zero where it is zero."""
        length = _length(gradient)
        return gradient / torch.where(length > 0, length, 1.0)

    def project(self, change: Tensor, radius: Tensor) -> Tensor:
        """What is too long is shortened."""
        length = _length(change)
        return change * torch.where(length > radius, radius / torch.where(length > 0, length, 1.0), 1.0)

    def sample(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """A Gaussian direction; the length is the d-th root of a uniform number, for d features."""
        direction = self.steepest(_drawn(torch.randn, like, generator))
        features = max(1, like[0].numel())
        uniform = _drawn(torch.rand, like.flatten(1)[:, :1], generator)
        return direction * per_sample(uniform.flatten() ** (1.0 / features), like)


BALLS: dict[str, Ball] = {ball.name: ball for ball in (LinfBall(), L2Ball())}


def check_norm(where: str, norm: str) -> None:
    """Refuse a norm that has no ball."""
    if norm not in BALLS:
        known = ", ".join(map(repr, BALLS))
        raise ValueError(f"{where}: norm must be one of {known}; got {norm!r}.")


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """One number per sample, shape (sample,), to be multiplied with a batch."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))


def _length(x: Tensor) -> Tensor:
    return per_sample(torch.linalg.vector_norm(x.flatten(1), dim=1), x)


def _drawn(draw, like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator else like.device
    return draw(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
