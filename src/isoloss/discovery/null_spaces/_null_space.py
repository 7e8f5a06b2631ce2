"""The directions in which a loss does not change, to first order, at given parameters and data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isoloss.discovery._loss import Loss
from isoloss.discovery._space import Space
from isoloss.discovery.null_spaces._flat_loss import MOST, FlatLoss, vectors
from isoloss.finding._complement import ROUNDING, cuts
from isoloss.finding._growth import CLEAR


@dataclass(frozen=True)
class NullSpace:
    """The null spaces of the Jacobian at n points.

    Attributes:
        basis: Orthonormal columns, (n, p, r) with r the largest dimension; points of a smaller one have zeros last.
        dimension: At each point, (n,).
        singular_values: Of the Jacobian at each point, descending, (n, min(d, p)).
        gap: At each point the smallest singular value that counted over the largest that did not, (n,).
        outputs: d, the numbers that the loss of a sample has.
        parameters: Where the p coordinates lie.
    """

    basis: Tensor = field(repr=False)
    dimension: Tensor
    singular_values: Tensor = field(repr=False)
    gap: Tensor = field(repr=False)
    outputs: int
    parameters: Space = field(repr=False)

    @property
    def rank(self) -> Tensor:
        """Of the Jacobian at each point, (n,)."""
        return self.parameters.size - self.dimension

    @property
    def clear(self) -> bool:
        """Does the gap leave no doubt about any dimension? It is at least 1e4 everywhere."""
        return bool((self.gap >= CLEAR).all())

    @property
    def directions(self) -> Tensor:
        """The basis as rows, (n, r, p): the shape of all directions in this package."""
        return self.basis.mT

    def tree(self) -> Any:
        """The directions in the shapes of the parameters, (n, r, *shape)."""
        return self.parameters.tree(self.directions)

    def __str__(self) -> str:
        points, p = len(self.dimension), self.parameters.size
        low, high = int(self.dimension.min()), int(self.dimension.max())
        doubt = "" if self.clear else "; the gap is not clear, the dimension a guess"
        return (
            f"{low if low == high else f'{low} to {high}'} of {p} directions leave the loss unchanged at "
            f"{'the point' if points == 1 else f'each of {points} points'} ({self.outputs} "
            f"output{'s' * (self.outputs > 1)}, so {max(0, p - self.outputs)} at the least; singular values "
            f"{float(self.gap.min()):.0e} apart){doubt}"
        )


def null_space(loss: Loss, params: Any, data: Any) -> NullSpace:
    r"""The null space of the Jacobian of a loss at given parameters and data, exactly.

    .. math:: \ker D_\theta L|_{\theta, X} = \{ v : D_\theta L|_{\theta, X}\, v = 0 \}

    By Th. 6.3.1 it contains the direction of every symmetry, data-dependent or not, so that it is the truth that
    learned directions are measured against; see `principal_angles`. It is much larger than what symmetries of the
    network explain: with d outputs its dimension is at least p - d, whatever the loss. Any k directions share k - d
    dimensions with it, so that only the d largest of their angles to it say anything; where all must count, compare
    with `linear_generators`.

    Singular values count relative to the longest row at the point, by the rule of `isoloss.certificate`: all above
    1e-8, and of those below all above the widest gap, where 1e-14 is rounding. A point whose longest row is below
    1e-14 of the longest of all points has rank zero.

    Args:
        loss: Of one sample, loss(params, data): a number, or a vector (d,) of what must all stay unchanged.
        params: Tensor or tree of tensors with the points along the first axis, (n, *shape).
        data: The data of each point, (n, *shape); computed with in float64, like the parameters.

    Returns:
        Bases, dimensions and gaps; print it.

    Raises:
        ValueError: If a sample is not finite, the loss is no number or vector or not finite, its derivatives are not
            finite, or the bases would have more than 2 GB.

    References:
        Dissertation, Th. 6.3.1 and Eq. (6.1). The null space as a measure of what was learned is ours.
    """
    spaces = Space.of(params, "null_space"), Space.of(data, "null_space")
    theta, x = vectors(*spaces, params, data, "null_space")
    flat = FlatLoss.of(loss, *spaces, (theta[0], x[0]), "null_space")
    size = len(theta) * flat.parameters.size**2
    if size > MOST:
        raise ValueError(
            f"null_space: the bases may have {MOST:,} entries, 2 GB; got {size:,}: {len(theta)} points of "
            f"{flat.parameters.size} parameters; take fewer points, or a smaller network."
        )
    jacobians = flat.jacobians(theta, x)
    _, singular, vh = torch.linalg.svd(jacobians, full_matrices=True)
    longest = jacobians.norm(dim=2).amax(1, keepdim=True)
    silent = longest <= ROUNDING * longest.max()
    relative = torch.where(silent, 0.0, singular / longest.where(~silent, 1.0))
    rank = cuts(relative)
    dimension = flat.parameters.size - rank
    width = int(dimension.max())
    # The null vectors are the last rows: now the first.
    inside = torch.arange(width, device=rank.device) < dimension[:, None]
    rows = vh.flip(1)[:, :width] * inside[..., None]
    return NullSpace(rows.mT, dimension, singular, _gap(relative, rank), flat.outputs, flat.parameters)


def _gap(relative: Tensor, rank: Tensor) -> Tensor:
    """The last that counted over the first that did not; rounding is the last that does not."""
    ends = relative.new_ones(len(relative), 1)
    framed = torch.cat([ends, relative, ROUNDING * ends], 1)
    kept, dropped = (framed.gather(1, (rank + i)[:, None])[:, 0] for i in (0, 1))
    return kept / dropped.clamp_min(ROUNDING)
