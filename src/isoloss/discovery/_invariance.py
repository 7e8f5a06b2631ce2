"""How well a symmetry keeps the loss at a point, beside moves of equal length that know nothing of the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

Loss = Callable[[dict[str, Tensor], Any], Tensor]


@dataclass(frozen=True)
class Invariance:
    r"""The change of the loss along curves of a symmetry, and along straight lines of equal length.

    .. math:: \max_t \lVert L(\gamma(t), X) - L(\gamma(0), X) \rVert_1 \,/\, \lVert L(\gamma(0), X) \rVert_1

    Attributes:
        change: Along the symmetry, the mean over random elements.
        random: Along lines in random directions of the same parameters, each as long as one of the curves.
        length: Mean length of the curves, in the Euclidean norm of the parameters that move.
        elements: How many were drawn.

    References:
        Dissertation, Figure 6.6.
    """

    change: float
    random: float
    length: float
    elements: int

    @property
    def ratio(self) -> float:
        """The first change over the second: 1 or so for a symmetry that is none.

        nan where nothing changes at all, and where the random lines lead to an infinite loss.
        """
        if not self.random:
            return inf if self.change else nan
        return self.change / self.random if isfinite(self.random) else nan

    def as_dict(self) -> dict[str, float]:
        """The numbers, for a logger."""
        return {"change": self.change, "random": self.random, "ratio": self.ratio, "length": self.length}

    def __str__(self) -> str:
        return (
            f"the loss changes by {self.change:.1e} of itself along curves of length {self.length:.2g}, and by "
            f"{self.random:.1e} along random lines as long: {self.ratio:.1e} times as much"
        )


def compared(
    loss: Loss,
    point: dict[str, Tensor],
    curves: dict[str, Tensor],
    data: Any,
    generator: torch.Generator | None,
) -> Invariance:
    """Compare curves from a point with random lines of the same lengths.

    Args:
        loss: Of all parameters and the data, one number or (d,).
        point: All parameters by name.
        curves: What moves, (n, times, *shape), the first time at the point.
        data: As the loss takes it.
        generator: Source of the random directions; the global one if None.

    Raises:
        ValueError: If the loss is neither one number nor one per sample, or not finite at the point.
    """
    here = loss(point, data)
    if not isinstance(here, Tensor) or here.dim() > 1:
        got = f"shape {tuple(here.shape)}" if isinstance(here, Tensor) else type(here).__name__
        raise ValueError(
            f"measured: the loss must be one number, or one per sample; got {got}; reduce all axes but the samples'."
        )
    if not bool(here.isfinite().all()):
        raise ValueError(
            "measured: the loss must be finite at the point; got inf or nan; measure elsewhere, or look at the data."
        )
    size = here.double().abs().sum().clamp_min(torch.finfo(torch.float64).tiny)

    def variation(curves: dict[str, Tensor]) -> float:
        at = vmap(vmap(lambda moved: loss({**point, **moved}, data), randomness="same"), randomness="same")
        changes = (at(curves) - here).double().abs()  # (n, times) or (n, times, d)
        return float(((changes.sum(2) if here.dim() else changes).amax(1) / size).mean())

    lines, passed = lines_like(curves, generator)
    return Invariance(variation(curves), variation(lines), float(passed[:, -1].mean()), len(passed))


def lines_like(
    curves: dict[str, Tensor], generator: torch.Generator | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Straight lines from where curves begin, in random directions, at every time as long as the curve until then.

    Args:
        curves: By name, (n, times, *shape).
        generator: Source of the random directions; the global one if None.

    Returns:
        The lines, of the same shapes; and the lengths, (n, times), float64.
    """
    lengths = torch.cumsum(_norms({n: x.diff(dim=1, prepend=x[:, :1]) for n, x in curves.items()}), 1)
    directions = {n: _normal(x[:, :1], generator) for n, x in curves.items()}
    unit = _norms(directions).clamp_min(torch.finfo(torch.float64).tiny)
    lines = {}
    for n, x in curves.items():
        along = (lengths / unit).to(x).reshape(*lengths.shape, *(1,) * (x.dim() - 2))
        lines[n] = x[:, :1] + along * directions[n]
    return lines, lengths


def _norms(tensors: dict[str, Tensor]) -> Tensor:
    """The Euclidean norms over all tensors of what lies behind the first two axes, float64."""
    squares = [
        x.double().square().flatten(2).sum(2) if x.dim() > 2 else x.double().square()
        for x in tensors.values()
    ]
    return torch.stack(squares).sum(0).sqrt()


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator else torch.device("cpu")
    return torch.randn(like.shape, generator=generator, dtype=torch.float64, device=device).to(like)
