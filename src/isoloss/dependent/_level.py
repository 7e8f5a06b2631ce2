"""Steps along the level set of the loss, to first order, and Newton steps back to it."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """The direction along which the loss changes first.

    Attributes:
        tilts: The derivative of the loss over the elements.
        flat: The same as vectors.
        squares: Their squared norms.
        steepness: The sum of these.
    """

    tilts: list[Tensor]
    flat: list[Tensor]
    squares: list[float]
    steepness: float

    @classmethod
    def of(cls, tilts: list[Tensor]) -> "Level | None":
        """None if there is no such direction."""
        flat = [t.reshape(-1) for t in tilts]
        squares = torch.stack([torch.dot(t, t) for t in flat]).tolist()
        return cls(tilts, flat, squares, sum(squares)) if 0.0 < sum(squares) < torch.inf else None

    def shifted(self, thetas: list[Tensor], missing: float, further: float = 0.0) -> list[Tensor]:
        """Moved by a Newton step that changes the loss by what is missing, and by a multiple of the tilts."""
        by = missing / self.steepness + further
        return [torch.add(t, s, alpha=by) for t, s in zip(thetas, self.tilts, strict=True)]


def stepped(
    thetas: list[Tensor], slopes: list[Tensor], length: float, level: Level | None, missing: float
) -> list[Tensor] | None:
    """A step of a length along the slopes, or along their part that keeps the loss, and back to it; None at the end."""
    norms = [torch.linalg.vector_norm(s) for s in slopes]
    dots = (
        [] if level is None else [torch.dot(s.view(-1), t) for s, t in zip(slopes, level.flat, strict=True)]
    )
    numbers = torch.stack([*norms, *dots]).tolist()
    sizes, inner = numbers[: len(norms)], numbers[len(norms) :]
    squares, part = [n * n for n in sizes], 0.0
    if level is not None:
        part = sum(inner) / level.steepness
        along = zip(squares, inner, level.squares, strict=True)
        squares = [s - 2 * part * d + part * part * t for s, d, t in along]
    longest = max(max(squares), 0.0) ** 0.5
    if not 1e-6 * max(sizes) < longest < torch.inf:
        return None
    rate = length / longest
    stepped = [torch.add(t, s, alpha=rate) for t, s in zip(thetas, slopes, strict=True)]
    return stepped if level is None else level.shifted(stepped, missing, -rate * part)
