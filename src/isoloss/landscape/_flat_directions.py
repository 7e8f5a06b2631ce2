"""How many of the Hessian's zero eigenvalues the symmetries explain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from isoloss.finding._complement import cut
from isoloss.finding._tangents import tangents
from isoloss.landscape._hessian import DENSE, Hessian
from isoloss.landscape._spectrum import zero_tolerance
from isoloss.symmetry import Symmetries, Symmetry, named_tensors

# A direction of the orbit is flat if its angle to the null space is below this (radians): all but 1e-4 of its
# squared length lies there.
ANGLE = 0.01


@dataclass(frozen=True)
class FlatDirections:
    """The null space of the Hessian beside the tangent space of the orbit.

    Attributes:
        eigenvalues: Of the Hessian, ascending.
        zeros: How many are zero.
        orbit_dimension: Of the orbit, within the parameters that the Hessian is over.
        explained: Directions of the orbit that lie in the null space: zeros that the symmetries explain.
        angles: Principal angles between both spaces, ascending, in radians.
        residual: Largest relative product of the Hessian with a unit direction of the orbit.
        gradient_norm: Length of the gradient; it bounds the residual, see `flat_directions`.
        gap: Smallest modulus of an eigenvalue that is not zero, over the largest of those that are.
    """

    eigenvalues: Tensor = field(repr=False)
    zeros: int
    orbit_dimension: int
    explained: int
    angles: Tensor = field(repr=False)
    residual: float
    gradient_norm: float
    gap: float

    @property
    def unexplained(self) -> int:
        """Zeros that no symmetry explains."""
        return self.zeros - self.explained

    def __str__(self) -> str:
        return (
            f"{self.zeros} of {len(self.eigenvalues)} eigenvalues are zero, {self.gap:.0e} below the others; the "
            f"symmetries explain {self.explained}, their orbit has dimension {self.orbit_dimension} "
            f"(gradient {self.gradient_norm:.0e})"
        )


def flat_directions(
    model: nn.Module,
    loss: Callable[[], Tensor],
    symmetries: Iterable[Symmetry],
    *,
    at: Mapping[str, Tensor] | None = None,
    critical: bool = True,
    tolerance: float | None = None,
    limit: int = DENSE,
) -> FlatDirections:
    r"""Compare the null space of the Hessian with the tangent space of the orbit.

    Differentiating :math:`\langle \nabla L(w), v(w) \rangle = 0` (Prop. 2.3.9), for the velocity v of any symmetry:

    .. math:: H v = -(Dv)^T \nabla L, \qquad \text{for linear actions } v = M w: \quad H M w = -M^T \nabla L

    At a critical point the orbit is flat: its whole tangent space lies in the null space, so that its dimension is a
    lower bound for the zeros. What exceeds it is not explained by these symmetries: others that are missing, dead
    units, more parameters than the data determine, or a minimum of higher order. Elsewhere tangents are no flat
    directions: they bend with the gradient, though the loss does not change along the orbit.

    Args:
        model: The model.
        loss: Returns the loss; see `Hessian`.
        symmetries: Exact ones count; approximate and discrete ones are passed over.
        at: Parameters and buffers by name, where the point is not the model's own.
        critical: Refuse a point where the orbit is not flat to the tolerance; False compares anywhere.
        tolerance: Largest modulus of a zero eigenvalue; see `zero_tolerance` for the default.
        limit: Most parameters; time grows with their cube.

    Returns:
        The comparison. Directions that also need a buffer or a frozen parameter to move do not count.

    Raises:
        ValueError: If there is no continuous symmetry, or they were found in a model of other
            shapes, or the point is not critical and has to be.

    References:
        Dissertation, Props. 2.3.3, 2.3.9 and A.2.8, section 2.8.2. The equations above are ours.
    """
    if isinstance(symmetries, Symmetries):
        symmetries.check_fits(named_tensors(model), "landscape.flat_directions")
    chosen = [s for s in symmetries if s.dim and s.exact]
    if not chosen:
        raise ValueError(
            "landscape.flat_directions: there must be an exact continuous symmetry; got none, which explains no zero; "
            "count them with spectrum(model, loss).zeros()."
        )
    hessian = Hessian(model, loss, at=at)
    matrix = hessian.dense(limit)
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    bound = zero_tolerance(eigenvalues) if tolerance is None else tolerance
    zero = eigenvalues.abs() <= bound
    here = named_tensors(model) | ({} if at is None else dict(at))
    orbit = tangent_space(chosen, here, hessian.names).to(matrix)
    residual = float(torch.linalg.matrix_norm(matrix @ orbit, 2)) if orbit.shape[1] else 0.0
    gradient = float(hessian.gradient.norm())
    if critical and residual > bound:
        raise ValueError(
            "landscape.flat_directions: the point must be critical, where orbits are flat; got a gradient of length "
            f"{gradient:.1e}, which bends the orbit by {residual:.1e} where {bound:.1e} counts as zero; train on, or "
            "compare anyway with critical=False."
        )
    angles = principal_angles(vectors[:, zero], orbit)
    ends = [
        float(e.abs().min() if i else e.abs().max())
        for i, e in enumerate((eigenvalues[zero], eigenvalues[~zero]))
        if len(e)
    ]
    gap = ends[1] / max(ends[0], torch.finfo(matrix.dtype).tiny) if len(ends) == 2 else float("inf")
    return FlatDirections(
        eigenvalues,
        int(zero.sum()),
        orbit.shape[1],
        int((angles <= ANGLE).sum()),
        angles,
        residual / max(float(eigenvalues.abs().max()), torch.finfo(matrix.dtype).tiny),
        gradient,
        gap,
    )


def tangent_space(
    symmetries: Iterable[Symmetry], tensors: Mapping[str, Tensor], names: Iterable[str]
) -> Tensor:
    """An orthonormal basis of the tangent space of the orbit within some parameters, shape (entries, dimension).

    Args:
        symmetries: Continuous ones; others add nothing.
        tensors: All that moves, by name.
        names: The parameters that may move. Directions that need another to move as well are left out.
    """
    chosen = [s for s in symmetries if s.dim]
    point = {n: t.detach().to("cpu", torch.float64).contiguous() for n, t in tensors.items()}
    inside = {n: point[n] for n in names}
    outside = {n: point[n] for s in chosen for n in s.parameters if n not in inside}
    size = sum(t.numel() for t in inside.values())
    rows = [torch.zeros(0, size + sum(t.numel() for t in outside.values()), dtype=torch.float64)]
    span = _span(torch.cat(rows + [tangents(s, point, inside | outside) for s in chosen]))
    if outside and span.shape[1]:
        _, s, vh = torch.linalg.svd(span[size:], full_matrices=True)
        span = span @ vh[cut(s) :].T
    return span[:size]


def _span(rows: Tensor) -> Tensor:
    """An orthonormal basis of the span of some rows of length one, as columns."""
    if len(rows) > rows.shape[1]:
        rows = torch.linalg.qr(rows, mode="r").R
    _, s, vh = torch.linalg.svd(rows, full_matrices=False)
    return vh[: cut(s.clamp_max(1.0))].T


def principal_angles(x: Tensor, y: Tensor) -> Tensor:
    """Angles between the spaces that orthonormal columns span, ascending, in radians; as many as the smaller has.

    Small angles from their sines, large ones from their cosines: neither loses digits. Axes before the last two are
    those of a batch.
    """
    small, large = (x, y) if x.shape[-1] <= y.shape[-1] else (y, x)
    inner = large.mT @ small
    if not small.shape[-1]:
        return inner.new_zeros(*inner.shape[:-2], 0)
    cosines = torch.linalg.svdvals(inner).clamp(0.0, 1.0)
    sines = torch.linalg.svdvals(small - large @ inner).clamp(0.0, 1.0).flip(-1)
    return torch.where(cosines > 0.5**0.5, sines.asin(), cosines.acos())
