"""Functions that are a squared norm after a change of variables: rotations of the new variables keep them."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from isoloss.groups import Orthogonal
from isoloss.problems._checks import check_last_axis
from isoloss.problems._numbers import times


class SumOfSquares(ABC):
    r"""A function :math:`L(w) = |h(w)|^2` with a bijection h, and the action of :math:`O(n)` through it.

    .. math:: g \cdot w = h^{-1}(g\, h(w)), \qquad L(g \cdot w) = |g\, h(w)|^2 = L(w)

    Two points of equal value lie at equal distance from the origin of h, so that one rotation leads from each to
    each: the level set is one orbit. The least value is 0, at :math:`h^{-1}(0)`.

    References:
        2022 paper, Prop. 4.1; dissertation, Prop. 4.4.1, eqs. (4.6) to (4.11), Lemma 4.5.5; 2025 paper, Section
        5.1.1. Differs: reflections act too, and in n dimensions.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of variables."""

    @abstractmethod
    def residual(self, w: Tensor) -> Tensor:
        """The new variables u = h(w), of the same shape."""

    @abstractmethod
    def point(self, u: Tensor) -> Tensor:
        """The point :math:`h^{-1}(u)` with these new variables."""

    @property
    def group(self) -> Orthogonal:
        """All rotations and reflections of the new variables."""
        return Orthogonal(self.size)

    @property
    def minimizer(self) -> Tensor:
        """The only point of value 0."""
        return self.point(torch.zeros(self.size, dtype=torch.float64))

    @property
    def minimum(self) -> Tensor:
        """Zero, for every problem of the batch."""
        return torch.zeros(self.minimizer.shape[:-1], dtype=torch.float64)

    def __call__(self, w: Tensor) -> Tensor:
        """The value at every point."""
        check_last_axis(type(self).__name__, w, self.size)
        return self.residual(w).square().sum(-1)

    def act(self, g: Tensor, w: Tensor) -> Tensor:
        """Rotate in the new variables; see the class."""
        check_last_axis(f"{type(self).__name__}.act", w, self.size)
        if g.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"{type(self).__name__}.act: elements must have shape (*batch, {self.size}, {self.size}); got "
                f"{tuple(g.shape)}. Draw them from `group`, or use `element`."
            )
        return self.point(times(g.to(w), self.residual(w)))
