"""The straight path between two points."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from isoloss.connect._parameters import Parameters, pair_of


@dataclass(frozen=True)
class Line:
    r"""Linear interpolation, :math:`(1 - t) a + t b`.

    Attributes:
        start: a, by name.
        end: b, by name.
    """

    start: dict[str, Tensor] = field(repr=False)
    end: dict[str, Tensor] = field(repr=False)

    @classmethod
    def between(cls, a: Parameters, b: Parameters) -> "Line":
        """The line from one point to another.

        Args:
            a: A model, or tensors by name.
            b: One of the same architecture.

        Raises:
            ValueError: If names or shapes differ.
        """
        return cls(*pair_of("Line", a, b))

    def __call__(self, t: Tensor | float) -> dict[str, Tensor]:
        """The points at the times, shape (*t.shape, *parameter.shape) by name; counters stay those of the start."""
        times = torch.as_tensor(t)
        return {n: self._between(times, a, self.end[n]) for n, a in self.start.items()}

    @staticmethod
    def _between(t: Tensor, a: Tensor, b: Tensor) -> Tensor:
        if not a.is_floating_point():
            return a.expand((*t.shape, *a.shape))
        s = t.to(a).reshape(*t.shape, *(1,) * a.dim())
        return (1 - s) * a + s * b
