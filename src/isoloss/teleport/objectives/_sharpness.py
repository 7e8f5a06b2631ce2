"""Sharpness: the mean loss at random points around the parameters."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import vmap

from isoloss._checks import is_length, is_whole
from isoloss.teleport._derivatives import complete
from isoloss.teleport._point import Point
from isoloss.teleport._quadratic import widen
from isoloss.teleport.objectives._objective import check_flag, check_lower

# 0.001, 0.011, ..., 0.191: section 5.2.3 of the dissertation.
DISPLACEMENTS = tuple(round(0.001 + 0.01 * i, 3) for i in range(20))
# Two points where powers of t have the same mean, up to the third; on the sphere, where d and -d are alike, odd powers
# do not count.
TWO_POINTS = {
    "sphere": (-(fmean(t * t for t in DISPLACEMENTS) ** 0.5), fmean(t * t for t in DISPLACEMENTS) ** 0.5),
    "positive": (fmean(DISPLACEMENTS) - pstdev(DISPLACEMENTS), fmean(DISPLACEMENTS) + pstdev(DISPLACEMENTS)),
}


@dataclass(frozen=True)
class Sharpness:
    r"""The mean loss over displacements t in random directions d, lowered to find flat points.

    .. math:: \phi(w) = \frac{1}{|T||D|} \sum_{t \in T} \sum_{d \in D} L(w + t d), \qquad \lVert d \rVert = 1

    This contains the loss itself: between models of different loss it measures mostly that (correlation 0.996 with
    the training loss over 24 MNIST models), while :math:`\phi - L` is what the displacement adds. On an orbit, where
    the loss is constant, both have the same maxima and gradients. The directions are drawn from the seed, the same
    at every evaluation, so that the objective is a function.

    By default the 20 displacements of the paper, 0.001 to 0.191, are replaced by two, plus and minus 0.112, whose
    squares have the same mean. Going both ways cancels :math:`t\, d \cdot \nabla L`, which is most of what tells one
    direction from another, and adds nothing to the mean over the sphere. On trained MNIST networks the standard error
    of :math:`\phi - L` is then 9 to 14 % of it after 20 passes, where the paper's 4,000 leave 84 to 346 %
    (docs/objectives.md). `Sharpness.of_the_paper()` has those.

    Attributes:
        lower: False goes where it is sharper.
        displacements: The set T, lengths in the space of all parameters; None takes two, by the support.
        directions: How many are drawn.
        excess: Report and follow :math:`\phi - L` instead of :math:`\phi`.
        support: "sphere" draws uniformly from the unit sphere of all parameters, as the text says; "positive" draws
            entries uniformly from [0, 1] and normalizes, as the published code does.
        seed: Of the directions.
        chunk: How many displaced points to evaluate at once, under `torch.func.vmap`; 1 takes them one after
            another, which every model allows and which needs the least memory.

    References:
        Dissertation, Eq. (5.1); Izmailov et al. (2018), arXiv:1803.05407.
    """

    lower: bool = True
    displacements: tuple[float, ...] | None = None
    directions: int = 10
    excess: bool = False
    support: Literal["sphere", "positive"] = "sphere"
    seed: int = 0
    chunk: int = 1

    name = "sharpness"
    radius = 0.1
    needs_gradients = False
    needs_loss = True

    def __post_init__(self) -> None:
        check_lower(self)
        check_flag(self, "excess", "True subtracts the loss here")
        if not isinstance(self.displacements, Iterable | None):
            raise ValueError(
                f"Sharpness: displacements must be a list of lengths; got {self.displacements!r}; write (0.1,)."
            )
        if self.support not in ("sphere", "positive"):
            raise ValueError(
                f"Sharpness: support must be sphere or positive; got {self.support!r}; sphere is what Eq. (5.1) says."
            )
        given = TWO_POINTS[self.support] if self.displacements is None else tuple(self.displacements)
        object.__setattr__(self, "displacements", given)
        whole = is_whole(self.directions, least=1) and is_whole(self.chunk, least=1) and is_whole(self.seed)
        if not whole or not given or not all(is_length(t) for t in given):
            raise ValueError(
                "Sharpness: there must be displacements, and whole numbers of directions and for chunk, at least 1, "
                f"and for the seed; got {self.displacements}, {self.directions!r}, {self.chunk!r} and {self.seed!r}; "
                "those of the paper are in Sharpness.of_the_paper()."
            )

    @classmethod
    def of_the_paper(cls, lower: bool = True, **options: Any) -> "Sharpness":
        """Eq. (5.1) with the 20 displacements and 200 directions of section 5.2.3: 4,000 passes."""
        return cls(lower, DISPLACEMENTS, 200, **options)

    @property
    def passes(self) -> int:
        """One for every displaced point, and one for the loss here if that is subtracted."""
        return len(self._lengths) * self.directions + self.excess

    @property
    def roundings(self) -> int:
        """A mean of losses loses no digits, and most of it is the loss, which stays: gains are in the last ones."""
        return 16

    def noise(self, point: Point) -> float:
        """The excess is a difference of two numbers of the size of the loss, and has as many roundings of each."""
        if not self.excess:
            return 0.0
        with torch.no_grad():
            return 2 * self.roundings * point.eps * abs(float(point.loss_for(self.name)({})))

    @property
    def _lengths(self) -> tuple[float, ...]:
        return () if self.displacements is None else self.displacements

    def evaluate(self, point: Point, tensors: Mapping[str, Tensor]) -> Tensor:
        """The mean loss around other parameters."""
        loss, there = point.loss_for(self.name), complete(point, tensors)
        moving = {n: there[n] for n in point.rates}
        total: Tensor | float = 0.0
        for lengths, directions in self._chunks(moving):
            if len(lengths) == 1:
                displaced = {n: x + lengths[0] * directions[n][0].to(x) for n, x in moving.items()}
                total = total + loss({**there, **displaced})
                continue
            displaced = {
                n: x + (lengths.to(x).view(-1, *(1,) * x.dim()) * directions[n].to(x))
                for n, x in moving.items()
            }
            fixed = {n: t for n, t in there.items() if n not in moving}
            losses = vmap(lambda some, fixed=fixed: loss({**fixed, **some}), randomness="same")(displaced)
            total = total + losses.sum()
        mean = total / (len(self._lengths) * self.directions)
        assert isinstance(mean, Tensor)
        return mean - loss(there) if self.excess else mean

    def _chunks(self, moving: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Lengths, and directions as unit vectors of the space of all parameters, so many at a time."""
        generator = torch.Generator().manual_seed(self.seed)
        waiting: list[tuple[float, dict[str, Tensor]]] = []
        left = len(self._lengths) * self.directions
        for _ in range(self.directions):
            direction = self._direction(moving, generator)
            for t in self._lengths:
                waiting.append((t, direction))
                left -= 1
                if len(waiting) == self.chunk or not left:
                    yield (
                        torch.tensor([t for t, _ in waiting], dtype=torch.float64),
                        {n: torch.stack([d[n] for _, d in waiting]) for n in moving},
                    )
                    waiting = []

    def _direction(self, moving: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        # Drawn in float32 on the CPU, so that a seed means the same everywhere.
        draw = torch.randn if self.support == "sphere" else torch.rand
        d = {n: draw(x.shape, generator=generator, dtype=torch.float32) for n, x in moving.items()}
        length = torch.nn.utils.get_total_norm(d.values()).double()
        return {
            n: v.to(moving[n].device, widen(moving[n]).dtype) / length.to(moving[n].device)
            for n, v in d.items()
        }
