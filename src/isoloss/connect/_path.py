"""What a path through parameter space is, and what all smooth ones can tell."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.func import jvp, vmap

from isoloss._checks import is_whole
from isoloss.teleport.curves import curvature

Tensors = dict[str, Tensor]


@runtime_checkable
class Path(Protocol):
    """A path from time 0 to time 1: parameters by name, shape (*t.shape, *parameter.shape)."""

    def __call__(self, t: Tensor | float) -> dict[str, Tensor]:
        """The points at the times t, of any shape."""
        ...


class SmoothPath(ABC):
    """A path given as a function of one time, with its derivatives by forward differentiation, at many times at once.

    Attributes:
        point: All parameters by name, from which the path is computed.
    """

    point: Tensors

    @abstractmethod
    def _at(self, t: Tensor, point: Tensors) -> Tensors:
        """What moves, at a time of no dimension: a function that `torch.func` transforms."""

    @property
    def start(self) -> Tensors:
        """The point at time 0, by name."""
        return self(0.0)

    @property
    def end(self) -> Tensors:
        """The point at time 1, by name."""
        return self(1.0)

    def __call__(self, t: Tensor | float) -> Tensors:
        """The points at the times, shape (*t.shape, *parameter.shape) by name; what stays is expanded, not copied."""
        times = torch.as_tensor(t, dtype=torch.float64)
        moved = self._mapped(self._at, times)
        return {
            n: moved[n] if n in moved else x.expand((*times.shape, *x.shape)) for n, x in self.point.items()
        }

    def velocity(self, t: Tensor | float) -> Tensors:
        """The first derivative of what moves, by name, shape (*t.shape, *parameter.shape)."""
        return self._mapped(_derivative(self._at), torch.as_tensor(t, dtype=torch.float64))

    def acceleration(self, t: Tensor | float) -> Tensors:
        """The second derivative of what moves."""
        return self._mapped(_derivative(_derivative(self._at)), torch.as_tensor(t, dtype=torch.float64))

    def curvature(self, t: Tensor | float) -> Tensor:
        r"""The curvature :math:`\lVert T' \rVert / \lVert \gamma' \rVert` at the times, shape (*t.shape).

        References:
            Dissertation, section 3.4.2; see `isoloss.teleport.curves.curvature`.
        """
        times = torch.as_tensor(t, dtype=torch.float64)
        first, second = self.velocity(times.flatten()), self.acceleration(times.flatten())
        return vmap(curvature)(first, second).reshape(times.shape)

    def length(self, n: int = 129) -> Tensor:
        """The length of the path, by Simpson's rule on n points, an odd number."""
        if not is_whole(n, least=3) or n % 2 == 0:
            raise ValueError(f"length: n must be an odd number of at least 3; got {n!r}; 129 is the default.")
        v = self.velocity(torch.linspace(0, 1, n, dtype=torch.float64))
        if not v:  # nothing moves, or at the start only
            return torch.zeros((), dtype=torch.float64)
        speed = torch.stack([x.double().flatten(1).square().sum(1) for x in v.values()]).sum(0).sqrt()
        weights = torch.full((n,), 2.0, dtype=torch.float64).to(speed)
        weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
        return (weights * speed).sum() / (3 * (n - 1))

    def _mapped(self, f: Callable[[Tensor, Tensors], Tensors], times: Tensor) -> Tensors:
        home = next(iter(self.point.values())).device
        if times.dim() == 0:
            return f(times.to(home), self.point)
        flat = times.flatten().to(home)
        if not flat.numel():
            one = f(flat.new_zeros(()), self.point)
            return {n: x.new_empty(*times.shape, *x.shape) for n, x in one.items()}
        # The point gets a batch dimension, too: blocks are written in place, into clones that must have it.
        many = {n: x.expand((len(flat), *x.shape)) for n, x in self.point.items()}
        return {n: x.unflatten(0, times.shape) for n, x in vmap(f)(flat, many).items()}


def _derivative(f: Callable[[Tensor, Tensors], Tensors]) -> Callable[[Tensor, Tensors], Tensors]:
    return lambda t, point: jvp(lambda s: f(s, point), (t,), (torch.ones_like(t),))[1]
