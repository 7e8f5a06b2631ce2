"""The loss along a path between two points, and its barrier."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import vmap

from isoloss._checks import is_whole
from isoloss.connect._line import Line
from isoloss.connect._parameters import Parameters, pair_of
from isoloss.connect._path import Path

LossFunction = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Barrier:
    r"""The loss along a path, and how far it rises above the line between its ends.

    Attributes:
        height: :math:`\max_t L(\gamma(t)) - ((1 - t) L(a) + t L(b))`, in units of the loss; 0 at the least.
        at: The time where it is taken.
        t: The times, shape (n,).
        losses: The losses there, float64.
    """

    height: float
    at: float
    t: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)

    @property
    def excess(self) -> Tensor:
        """What the losses exceed the line between the ends by, shape (n,)."""
        return self.losses - (1 - self.t) * self.losses[0] - self.t * self.losses[-1]

    @property
    def variation(self) -> float:
        """Largest distance of a loss from that of the start: 0 on a level set."""
        return float((self.losses - self.losses[0]).abs().max())

    def as_dict(self) -> dict[str, float]:
        """The numbers, for a logger."""
        return {
            "height": self.height,
            "at": self.at,
            "loss_start": float(self.losses[0]),
            "loss_end": float(self.losses[-1]),
            "loss_max": float(self.losses.max()),
        }


def barrier(
    a: Parameters,
    b: Parameters,
    loss: LossFunction,
    path: str | Path = "linear",
    n: int = 51,
    *,
    chunk: int | None = None,
    vectorized: bool = True,
) -> Barrier:
    r"""The loss barrier between two points, along the line or any path.

    .. math:: \max_{t} L(\gamma(t)) - \bigl( (1 - t) L(\gamma(0)) + t L(\gamma(1)) \bigr)

    Points are evaluated together by `torch.func.vmap`.

    Args:
        a: A model, or tensors by name.
        b: One of the same architecture.
        loss: A function of the parameters by name, such as `isoloss.teleport.Loss(closure, model)`.
        path: "linear", or a path from a to b such as `curve(a, b, symmetries)`.
        n: Number of times, equally spaced, both ends included.
        chunk: How many points at once; by default as many as 2^26 numbers hold.
        vectorized: False evaluates one point after another, for models that vmap cannot run.

    Raises:
        ValueError: If the points are not of one architecture, the path does not join them, or a loss is not one
            number, or not finite at an end (in between it may overflow: the height is infinite then).
    """
    where = "barrier"
    one, two = pair_of(where, a, b)
    if isinstance(path, str):
        if path != "linear":
            raise ValueError(
                f'{where}: path must be "linear" or a path; got {path!r}; such as connect.curve(a, b, symmetries).'
            )
        path = Line(one, two)
    else:
        check_joins(where, path, one, two)
    return profile(path, loss, n, chunk=chunk, vectorized=vectorized)


def profile(
    path: Path, loss: LossFunction, n: int = 51, *, chunk: int | None = None, vectorized: bool = True
) -> Barrier:
    """The same for a path alone, whatever its ends.

    Args:
        path: From time 0 to time 1.
        loss: As in `barrier`.
        n: As in `barrier`.
        chunk: As in `barrier`.
        vectorized: As in `barrier`.
    """
    where = "barrier"
    if not is_whole(n, least=2):
        raise ValueError(f"{where}: n must be a whole number of at least 2; got {n!r}; 51 is the default.")
    if chunk is not None and not is_whole(chunk, least=1):
        raise ValueError(
            f"{where}: chunk must be a whole number of at least 1; got {chunk!r}; it counts points evaluated at once."
        )
    if not callable(loss):
        raise ValueError(
            f"{where}: loss must be a function of the parameters by name; got {type(loss).__name__}; "
            "such as isoloss.teleport.Loss(closure, model)."
        )
    t = torch.linspace(0, 1, n, dtype=torch.float64)
    if chunk is None:
        numbers = sum(x.numel() for x in path(0.0).values())
        chunk = max(1, min(n, 2**26 // max(numbers, 1)))
    with torch.no_grad():
        losses = torch.cat([_losses(path(part), loss, vectorized, where) for part in t.split(chunk)])
    if not bool(losses[[0, -1]].isfinite().all()):
        raise ValueError(
            f"{where}: the loss must be finite at both ends; got {float(losses[0]):g} and {float(losses[-1]):g}; "
            "compare models that have not diverged."
        )
    result = Barrier(0.0, 0.0, t, losses)
    excess = torch.nan_to_num(result.excess, nan=float("inf"))
    k = int(excess.argmax())
    return Barrier(float(excess[k].clamp_min(0)), float(t[k]), t, losses)


def check_joins(where: str, path: Path, one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Refuse a path whose ends are not the two points, to half of the digits."""
    if not callable(path):
        raise ValueError(
            f'{where}: path must be "linear" or a path; got {type(path).__name__}; '
            "a path is a function of the time that returns tensors by name."
        )
    for time, point, end in ((0.0, one, "first"), (1.0, two, "second")):
        there = path(time)
        for name, x in point.items():
            if name not in there or there[name].shape != x.shape:
                raise ValueError(
                    f"{where}: the path must hold the parameters of both points; got none or another shape for {name}; "
                    "make the path from the same models."
                )
            if not x.is_floating_point():
                continue
            size = torch.linalg.vector_norm(x.double()).clamp_min(1e-300)
            gap = torch.linalg.vector_norm(there[name].double() - x.double()) / size
            if not gap <= 10 * torch.finfo(x.dtype).eps ** 0.5:
                raise ValueError(
                    f"{where}: the path must lead from the first point to the second; got another {end} point, "
                    f"{float(gap):.2g} away in {name}; use connect.profile for the path alone "
                    "(a curve that was permuted or flipped starts at path.start)."
                )


def _losses(points: dict[str, Tensor], loss: LossFunction, vectorized: bool, where: str) -> Tensor:
    count = len(next(iter(points.values())))
    if vectorized:
        found = vmap(loss, randomness="same")(points)
    else:
        found = torch.stack(
            [torch.as_tensor(loss({n: x[i] for n, x in points.items()})) for i in range(count)]
        )
    if not isinstance(found, Tensor) or found.numel() != count:
        got = tuple(found.shape[1:]) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"{where}: loss must return one number per point; got {got}; return the mean of the batch."
        )
    return found.reshape(count).double()
