"""The three-layer regression of the 2022 paper: few samples, so that the data-dependent group acts exactly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from isoloss.groups import GeneralLinear
from isoloss.problems._checks import check_last_axis
from isoloss.problems._numbers import right_quotient


@dataclass(frozen=True, eq=False)
class ThreeLayerRegression:
    r"""Half the squared error of a three-layer LeakyReLU network without biases, on fixed data.

    .. math::
        L(W_1, W_2, W_3) = \tfrac12 |Y - W_3 \sigma(W_2 \sigma(W_1 X))|^2

    The general linear group of one hidden layer acts. With the input h of that layer (X or the first hidden layer),
    pre-activations :math:`z = W_m h` and :math:`z' = \sigma^{-1}(g \sigma(z))`,

    .. math::
        W_m \to W_m + (z' - z) h^+, \qquad W_{m+1} \to W_{m+1} g^{-1}.

    While there are at most as many samples as h has rows, and h has full rank, :math:`h^+ h = 1`: all later layers keep
    their pre-activations, and composition and identity hold exactly. Eq. (4.13) has :math:`z' h^+` instead, which
    projects the weights even at g = 1. The actions of the two layers do not commute: they make no action of the
    product group.

    The least value is 0: with hidden layers of full column rank the last layer alone fits any target.

    Args:
        data: X, ``(*parameters, inputs, samples)``; by default that of the first published run.
        target: Y, ``(*parameters, outputs, samples)``; likewise.
        hidden: The two hidden widths.
        layer: Whose group acts, the first hidden layer (1) or the second (2).
        slope: Of the LeakyReLU, for negative numbers.

    Raises:
        ValueError: If there are more samples than inputs or hidden units, or layer or slope is out of range.

    References:
        2022 paper, Section 6.1 and eq. (8); dissertation, Section 4.6.1 and eq. (4.13). Differs: the papers print the
        norm, their code and all known values use half its square.
    """

    name: ClassVar[str] = "three-layer-regression"
    data: Tensor = field(default_factory=lambda: _draw(0)[3])
    target: Tensor = field(default_factory=lambda: _draw(0)[4])
    hidden: tuple[int, int] = (6, 7)
    layer: int = 1
    slope: float = 0.1

    def __post_init__(self) -> None:
        inputs, samples = self.data.shape[-2:]
        if self.layer not in (1, 2) or not self.slope > 0:
            raise ValueError(
                f"ThreeLayerRegression: layer must be 1 or 2 and slope positive; got {self.layer} and {self.slope}. "
                "The activation has to be a bijection."
            )
        if self.target.shape[-1] != samples or samples > min(inputs, *self.hidden):
            raise ValueError(
                f"ThreeLayerRegression: there must be as many targets as samples and no more samples than inputs or "
                f"hidden units; got {samples} samples, {self.target.shape[-1]} targets, {inputs} inputs, hidden "
                f"{self.hidden}. Otherwise the group acts only approximately; see `isoloss.dependent`."
            )

    @classmethod
    def sample(
        cls, batch: tuple[int, ...] = (), *, layer: int = 1, generator: torch.Generator | None = None
    ) -> tuple["ThreeLayerRegression", Tensor]:
        """Draw problems and starting points: data, targets and weights uniform in [0, 1), widths 5, 6, 7, 8."""
        return cls._cut(torch.rand(*batch, _ENTRIES, generator=generator, dtype=torch.float64), layer)

    @classmethod
    def published(
        cls, seeds: Iterable[int] = range(5), *, layer: int = 1
    ) -> tuple["ThreeLayerRegression", Tensor]:
        """The draws of the published code, one per seed: seed n gives the numbers of its run n, in float64."""
        numbers = [torch.cat([part.flatten() for part in _draw(n)]) for n in seeds]
        return cls._cut(torch.stack(numbers), layer)

    @classmethod
    def _cut(cls, numbers: Tensor, layer: int) -> tuple["ThreeLayerRegression", Tensor]:
        w, x, y = numbers.split([sum(m * k for m, k in _SHAPES[:3]), *(m * k for m, k in _SHAPES[3:])], -1)
        return cls(x.unflatten(-1, _SHAPES[3]), y.unflatten(-1, _SHAPES[4]), layer=layer), w

    @property
    def size(self) -> int:
        """Entries of the three weights."""
        return sum(m * k for m, k in self._shapes)

    @property
    def group(self) -> GeneralLinear:
        """Invertible matrices on the chosen hidden layer."""
        return GeneralLinear(self.hidden[self.layer - 1])

    @property
    def minimum(self) -> Tensor:
        """Zero."""
        return self.data.new_zeros(torch.broadcast_shapes(self.data.shape[:-2], self.target.shape[:-2]))

    @property
    def minimizer(self) -> Tensor:
        """A point of value 0: the first two layers copy the data, the last solves for the targets."""
        first, second = (
            torch.eye(m, k, dtype=self.data.dtype, device=self.data.device) for m, k in self._shapes[:2]
        )
        hidden = self._activate(second @ self._activate(first @ self.data))
        last = self.target @ torch.linalg.pinv(hidden)
        batch = last.shape[:-2]
        return self.join([first.expand(*batch, *first.shape), second.expand(*batch, *second.shape), last])

    def split(self, w: Tensor) -> list[Tensor]:
        """The three weights of a point."""
        parts = w.split([m * k for m, k in self._shapes], -1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def join(self, weights: Sequence[Tensor]) -> Tensor:
        """The point with these weights."""
        return torch.cat([weight.flatten(-2) for weight in weights], -1)

    def __call__(self, w: Tensor) -> Tensor:
        """The value at every point."""
        check_last_axis("ThreeLayerRegression", w, self.size)
        first, second, third = self.split(w)
        hidden = self._activate(second @ self._activate(first @ self.data.to(w)))
        return (self.target.to(w) - third @ hidden).square().sum((-2, -1)) / 2

    def act(self, g: Tensor, w: Tensor) -> Tensor:
        """Change the basis of the chosen hidden layer; see the class."""
        check_last_axis("ThreeLayerRegression.act", w, self.size)
        width = self.hidden[self.layer - 1]
        if g.shape[-2:] != (width, width):
            raise ValueError(
                f"ThreeLayerRegression.act: elements must have shape (*batch, {width}, {width}); got {tuple(g.shape)}. "
                "Draw them from `group`."
            )
        g = g.to(w)
        weights = self.split(w)
        inner = self.data.to(w) if self.layer == 1 else self._activate(weights[0] @ self.data.to(w))
        incoming, outgoing = weights[self.layer - 1], weights[self.layer]
        z = incoming @ inner
        moved = self._deactivate(g @ self._activate(z))
        weights[self.layer - 1] = incoming + (moved - z) @ torch.linalg.pinv(inner)
        weights[self.layer] = right_quotient(outgoing, g)
        batch = torch.broadcast_shapes(*(weight.shape[:-2] for weight in weights))
        return self.join([weight.expand(*batch, *weight.shape[-2:]) for weight in weights])

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        widths = [self.data.shape[-2], *self.hidden, self.target.shape[-2]]
        return [(m, k) for k, m in zip(widths[:-1], widths[1:], strict=True)]

    def _activate(self, z: Tensor) -> Tensor:
        return leaky_relu(z, self.slope)

    def _deactivate(self, h: Tensor) -> Tensor:
        return leaky_relu(h, 1 / self.slope)


# The three weights, the data and the targets, in the order in which the published code draws them.
_SHAPES = [(6, 5), (7, 6), (8, 7), (5, 4), (8, 4)]
_ENTRIES = sum(m * k for m, k in _SHAPES)


def _draw(n: int) -> list[Tensor]:
    """What run n of the published code draws, in float32 there."""
    generator = torch.Generator().manual_seed(12345 * n * n)
    return [torch.rand(m, k, generator=generator, dtype=torch.float32).double() for m, k in _SHAPES]
