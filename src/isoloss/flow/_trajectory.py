"""A curve in parameter space, recorded at some times."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    r"""Where a gradient flow, or gradient descent, has been.

    Attributes:
        t: The times, shape (k,).
        tensors: Parameters by name, shape (k, *shape), float64.
        velocities: What drives them, :math:`-\varepsilon \nabla L`, in the same shapes.
        losses: The loss at every time, shape (k,).
        rates: :math:`\varepsilon` by parameter.
        evaluations: Gradients that it took.
        dense: The curve at any time in between, if it was asked for.
    """

    t: Tensor
    tensors: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    losses: Tensor
    rates: Mapping[str, float]
    evaluations: int
    dense: Callable[[float], dict[str, Tensor]] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The parameters at the time with this number."""
        return {name: x[index] for name, x in self.tensors.items()}

    def __call__(self, t: float) -> dict[str, Tensor]:
        """The parameters at any time between the first and the last.

        Raises:
            ValueError: If the trajectory keeps no dense output, or the time lies outside.
        """
        if self.dense is None:
            raise ValueError(
                "Trajectory: only the recorded times are known; got a call; use gradient_flow(..., dense=True)."
            )
        first, last = float(self.t[0]), float(self.t[-1])
        if not first <= t <= last:
            raise ValueError(f"Trajectory: t must lie between {first:g} and {last:g}; got {t:g}.")
        return self.dense(t)

    def __repr__(self) -> str:
        return (
            f"Trajectory({len(self)} times to t = {float(self.t[-1]):g}, loss {float(self.losses[0]):.4g} to "
            f"{float(self.losses[-1]):.4g}, {self.evaluations} gradients)"
        )
